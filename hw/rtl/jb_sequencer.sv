// Runs a tile: cuts it into output blocks, phases and steps (forward, input gradient: one group of weights over all pixels;
// weight gradient: one pass of the scheduler's list), starts the walks over the feature buffers, keeps the steps apart as far
// as weights, partial sums and the emptying of the array demand, and hands finished blocks to the output path.
//
// A step that starts in cycle s makes its first request in s + 1, whose data reach the array in s + 7 (its cycle 0).
`default_nettype none

module jb_sequencer #(
  parameter int OutLanes  = 16,
  parameter int BankDepth = 512,
  parameter int PsumDepth = 1024
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  // tiles
  input  wire logic          tile_valid_i,
  output      logic          tile_ready_o,
  input  wire logic [1023:0] tile_i,
  input  wire logic          tile_half_i,
  output      logic          release_valid_o,
  output      logic          release_half_o,
  // the tile at work
  output      logic          start_o,            // pulse: tile_o is there
  output      logic [1023:0] tile_o,
  output      logic          half_o,
  output      logic          forward_o,
  output      logic          weight_gradient_o,
  // geometry
  output      logic [$clog2(BankDepth)-2:0] x_group_o,
  output      logic [$clog2(BankDepth)-2:0] x_image_o,
  output      logic [$clog2(BankDepth)-2:0] g_group_o,
  output      logic          geometry_valid_o,
  // predictor
  input  wire logic          predict_busy_i,
  // weights
  output      logic          weights_start_o,
  input  wire logic          weights_staged_i,
  output      logic          swap_o,             // with the first pixel's data in cycle 0 of the array
  output      logic          weights_taken_o,
  output      logic          weights_last_o,
  output      logic          weights_over_o,
  output      logic          weights_finished_o,
  // windows of the weight gradient, and their passes
  output      logic          list_valid_o,
  input  wire logic          list_ready_i,
  output      logic [15:0]   list_block_o,
  output      logic [15:0]   list_word_o,
  output      logic [2:0]    list_row_o,
  output      logic [2:0]    list_column_o,
  input  wire logic          pass_valid_i,
  output      logic          pass_ready_o,
  input  wire logic          pass_last_i,
  input  wire logic          pass_empty_i,
  input  wire logic [31:0]   decided_i,
  input  wire logic [31:0]   undecided_i,
  output      logic          pass_load_o,        // the pass is copied with this pulse
  output      logic [$clog2(PsumDepth)-1:0] pass_base_o,
  input  wire logic          drain_busy_i,
  output      logic          capture_o,          // cycle 4 of the array with a pass' last pixel
  // requests to the feature buffers
  output      logic          x_valid_o,
  output      logic          x_many_o,
  output      logic [15:0]   x_base_o,
  output      logic [17:0]   x_row_o,
  output      logic [17:0]   x_column_o,
  output      logic [15:0]   x_word_o,
  output      logic          g_valid_o,
  output      logic          g_many_o,
  output      logic [15:0]   g_base_o,
  output      logic [17:0]   g_row_o,
  output      logic [17:0]   g_column_o,
  output      logic [15:0]   g_word_o,
  // array, in its cycle 0
  output      logic          odd_o,
  output      logic          pixel_o,
  output      logic          pixel_first_o,
  // partial sums
  output      logic          add_o,              // cycle 8 of the array
  output      logic [$clog2(PsumDepth)-1:0] add_address_o,
  output      logic          fresh_o,
  output      logic          initial_load_o,     // cycle 10 of the array
  output      logic          initial_use_o,
  // jobs of the output path
  output      logic          job_valid_o,
  input  wire logic          job_ready_i,
  output      logic          job_emit_o,
  output      logic          job_end_o,
  output      logic          job_half_o,
  output      logic          job_both_o,         // a weight gradient in both halves
  output      logic [15:0]   job_sign_base_o,
  output      logic [2:0]    job_quads_o,        // weight gradient: of the last block
  output      logic [15:0]   job_dw_words_o,     // weight gradient: words of all blocks
  output      logic [15:0]   job_dw_block_o,     // of one of them
  input  wire logic          block_done_i,
  input  wire logic [$clog2(PsumDepth)-1:0] emitted_i,  // weight gradient: what lies below has been read
  // numbers of the tile, stable while its last job is offered
  output      logic [31:0]   compute_cycles_o,
  output      logic [31:0]   stall_cycles_o,
  output      logic [63:0]   macs_o,
  output      logic [63:0]   gated_o
);
  localparam int BankBits = $clog2(BankDepth) - 1;
  localparam int PsumBits = $clog2(PsumDepth);
  localparam int Quads = OutLanes / 4;
  localparam int QuadBits = $clog2(Quads);
  localparam int ConvolutionSpace = 8;              // cycles between starts: a sum must be back before it is read again
  localparam int DrainSpace = 60;                   // the array's sums must have been added: 48, one per cycle
  localparam int PassGap = 5;                       // cycles without a pixel between passes
  localparam int Tail = 26;                         // from the last request to the last sum in memory
  localparam int Setup = (PsumBits > BankBits ? PsumBits : BankBits) + (BankBits > 6 ? BankBits : 6) + 1;  // see jb_sequencer_geometry

  typedef enum logic [3:0] {
    StIdle,
    StSetup,
    StPrepare,   // make the next step's parameters
    StStart,     // wait until it may start
    StNext,      // count
    StTail,      // let the pipeline run dry
    StJob,       // hand over a block
    StFinish,    // wait for the predictor and the products
    StEnd        // hand over the tile
  } state_e;

  state_e state_q;

  // ---- the tile
  logic [1023:0] tile_q;
  logic [7:0] kernel_h, kernel_w, pad_top, pad_left;
  logic [15:0] flags, images, x_rows, x_columns, x_words, g_rows, g_columns, g_words, out_block, out_blocks;
  logic stride2, channels, first, last;
  logic forward, input_gradient, weight_gradient, predict_only, phases;  // registers

  assign tile_o     = tile_q;
  assign flags      = tile_q[jb_pkg::FLAGS_LSB+:16];
  assign images     = tile_q[jb_pkg::IMAGES_LSB+:16];
  assign x_rows     = tile_q[jb_pkg::X_ROWS_LSB+:16];
  assign x_columns  = tile_q[jb_pkg::X_COLUMNS_LSB+:16];
  assign x_words    = tile_q[jb_pkg::X_WORDS_LSB+:16];
  assign g_rows     = tile_q[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns  = tile_q[jb_pkg::G_COLUMNS_LSB+:16];
  assign g_words    = tile_q[jb_pkg::G_WORDS_LSB+:16];
  assign kernel_h   = tile_q[jb_pkg::KERNEL_H_LSB+:8];
  assign kernel_w   = tile_q[jb_pkg::KERNEL_W_LSB+:8];
  assign pad_top    = tile_q[jb_pkg::PAD_TOP_LSB+:8];
  assign pad_left   = tile_q[jb_pkg::PAD_LEFT_LSB+:8];
  assign stride2    = tile_q[jb_pkg::STRIDE_LSB+1];
  assign channels   = tile_q[jb_pkg::LANE_MODE_LSB];
  assign out_block  = tile_q[jb_pkg::OUT_BLOCK_LSB+:16];
  assign out_blocks = tile_q[jb_pkg::OUT_BLOCKS_LSB+:16];

  always_ff @(posedge clk_i) begin
    if (tile_take) begin
      forward         <= tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_FORWARD;
      input_gradient  <= tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_INPUT_GRADIENT;
      weight_gradient <= tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_WEIGHT_GRADIENT;
      predict_only    <= tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_PREDICT;
      phases          <= tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_INPUT_GRADIENT && tile_i[jb_pkg::STRIDE_LSB+1];
    end
  end

  assign first           = flags[jb_pkg::FLAG_FIRST];
  assign last            = flags[jb_pkg::FLAG_LAST];

  assign forward_o         = forward;
  assign weight_gradient_o = weight_gradient;

  logic [BankBits-1:0] x_quarter, g_quarter, g_image, g_scaled;
  logic [15:0] sign_base;
  logic [PsumBits-1:0] psum_image;
  logic [PsumBits:0] dw_block;
  logic [5:0] taps;

  jb_sequencer_geometry #(
    .BankBits(BankBits),
    .PsumBits(PsumBits),
    .QuadBits(QuadBits)
  ) u_geometry (
    .clk_i,
    .start_i     (start_o),
    .forward_i   (forward),
    .x_rows_i    (x_rows),
    .x_columns_i (x_columns),
    .x_words_i   (x_words),
    .g_rows_i    (g_rows),
    .g_columns_i (g_columns),
    .g_words_i   (g_words),
    .out_block_i (out_block),
    .kernel_h_i  (kernel_h[2:0]),
    .kernel_w_i  (kernel_w[2:0]),
    .x_quarter_o (x_quarter),
    .x_group_o,
    .x_image_o,
    .g_quarter_o (g_quarter),
    .g_group_o,
    .g_image_o   (g_image),
    .g_block_o   (g_scaled),
    .psum_image_o(psum_image),
    .taps_o      (taps),
    .dw_block_o  (dw_block),
    .sign_o      (sign_base)
  );

  // ---- counters of the loops; forward and input gradient: block, phase, group, kernel row, kernel column
  logic [15:0] block_q;     // from 0
  logic [1:0] phase_q;      // parities of the taps' row and column (input gradient, stride 2)
  logic [15:0] group_q;     // in fours of channels
  logic [7:0] row_q, column_q;
  logic [15:0] fours, group_step, left_q;
  logic [7:0] row_step, column_step;
  logic empty_phase, column_end, row_end, group_end, phase_end, block_end, weights_end, step_first;
  logic [BankBits-1:0] word_base_q;  // of the group's first word
  logic [18:0] quads_q;     // fours of output channels from this block on
  logic [2:0] quads;

  assign fours       = input_gradient ? g_words : {x_words[14:0], 1'b0};
  assign group_step  = channels ? 16'd3 : 16'd1;
  assign row_step    = phases ? 8'd2 : 8'd1;
  assign column_step = !channels ? 8'd3 : phases ? 8'd2 : 8'd1;
  assign left_q      = fours - group_q;
  assign empty_phase = phases && ({7'd0, phase_q[1]} >= kernel_h || {7'd0, phase_q[0]} >= kernel_w);
  assign column_end  = column_q + column_step >= kernel_w || empty_phase;
  assign row_end     = row_q + row_step >= kernel_h || empty_phase;
  assign group_end   = left_q <= group_step || empty_phase;
  assign phase_end   = !phases || phase_q == 2'd3;
  assign block_end   = column_end && row_end && group_end && phase_end;
  // The block's last group of weights: phases without taps may follow.
  assign weights_end = column_end && row_end && group_end
                       && (!phases || phase_q == {kernel_h != 8'd1, kernel_w != 8'd1});
  assign step_first  = group_q == '0 && row_q == {7'd0, phase_q[1]} && column_q == {7'd0, phase_q[0]};
  assign quads       = quads_q > 19'(Quads) ? 3'(Quads) : quads_q[2:0];

  // ---- parameters of the next step
  logic [17:0] x_row_d, x_column_d, g_row_d, g_column_d;
  logic [17:0] next_x_row_q, next_x_column_q, next_g_row_q, next_g_column_q;
  logic [BankBits-1:0] next_x_base_q, next_g_base_q;
  logic [15:0] next_x_word_q, next_g_word_q, list_g_word;
  logic [15:0] walk_images_q, walk_rows_q, walk_columns_q;  // less one
  logic [15:0] rows_d, columns_d;
  logic [PsumBits-1:0] next_address_q;
  logic column_end_q, row_end_q, group_end_q;
  logic next_empty_q, next_odd_q, next_first_q, next_weights_q, next_weights_end_q, next_block_end_q, next_tile_end_q;
  logic [1:0] next_products_q;  // taps * fours of channels of the group: 0..3
  logic row_start, column_start;  // input gradient, stride 2: first row and column of x in the phase
  logic [17:0] kernel_row, kernel_column, top, left;

  assign row_start     = phases && (phase_q[1] ^ pad_top[0]);
  assign column_start  = phases && (phase_q[0] ^ pad_left[0]);
  assign kernel_row    = weight_gradient ? {15'd0, run_row_q} : {10'd0, row_q};
  assign kernel_column = weight_gradient ? {15'd0, run_column_q} : {10'd0, column_q};
  assign top           = {10'd0, pad_top};
  assign left          = {10'd0, pad_left};

  always_comb begin
    x_row_d    = kernel_row - top;
    x_column_d = kernel_column - left;
    if (weight_gradient) begin
      g_row_d    = '0;
      g_column_d = '0;
    end else if (phases) begin
      g_row_d    = 18'($signed({17'd0, row_start} + top - kernel_row) >>> 1);
      g_column_d = 18'($signed({17'd0, column_start} + left - kernel_column) >>> 1);
    end else begin
      g_row_d    = top - kernel_row;
      g_column_d = left - kernel_column - (channels ? 18'd0 : 18'd2);
    end
    if (empty_phase && !weight_gradient) g_row_d = 18'h20000;  // nothing but zeros is there
    rows_d    = g_rows;
    columns_d = g_columns;
    if (forward) begin
      rows_d = 16'((17'(g_rows) + 17'd1) >> 1);
    end else if (input_gradient) begin
      rows_d    = phases ? 16'((17'(x_rows) + 17'(!row_start)) >> 1) : x_rows;
      columns_d = phases ? 16'((17'(x_columns) + 17'(!column_start)) >> 1) : x_columns;
    end
  end

  // ---- windows of the weight gradient: which to ask for, and to which the passes belong
  logic [15:0] ask_block_q, ask_word_q, run_block_q, run_word_q;
  logic [2:0] ask_row_q, ask_column_q, run_row_q, run_column_q;
  logic ask_column_end, ask_row_end, ask_word_end, run_column_end, run_row_end, run_word_end;
  logic ask_q, pass_take, window_take, block_take, windows_done;
  logic [BankBits-1:0] run_x_base_q, run_g_base_q, block_words;
  logic [PsumBits-4:0] pass_tap;
  logic [PsumBits-3:0] run_tap_q, run_row_tap_q;  // tap number of the word's first tap, and of the window's row after it

  assign list_valid_o   = ask_q;
  assign list_block_o   = out_block + ask_block_q;
  assign list_word_o    = ask_word_q;
  assign list_row_o     = ask_row_q;
  assign list_column_o  = ask_column_q;
  assign ask_column_end = ask_column_q + 3'd3 >= kernel_w[2:0] || ask_column_q == 3'd6;
  assign ask_row_end    = ask_row_q + 3'd3 >= kernel_h[2:0] || ask_row_q == 3'd6;
  assign ask_word_end   = ask_word_q == x_words - 16'd1;
  assign run_column_end = run_column_q + 3'd3 >= kernel_w[2:0] || run_column_q == 3'd6;
  assign run_row_end    = run_row_q + 3'd3 >= kernel_h[2:0] || run_row_q == 3'd6;
  assign run_word_end   = run_word_q == x_words - 16'd1;
  assign windows_done   = run_block_q == out_blocks;
  assign window_take    = pass_take && pass_last_i;
  assign block_take     = window_take && run_column_end && run_row_end && run_word_end;
  assign list_g_word    = 16'((out_block + run_block_q) << QuadBits);
  assign pass_tap       = (PsumBits - 3)'(run_tap_q + run_row_tap_q + (PsumBits - 2)'(run_column_q));
  assign pass_base_o    = {both_q ? pass_tap[PsumBits-4] : half_q, pass_tap[PsumBits-5:0], 3'd0};
  assign block_words    = BankBits'(g_quarter << QuadBits);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) ask_q <= 1'b0;
    else if (state_q == StSetup && tail_q == 5'(Setup)) ask_q <= weight_gradient;
    else if (list_ready_i && ask_column_end && ask_row_end && ask_word_end && ask_block_q == out_blocks - 16'd1) ask_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StSetup) begin
      ask_block_q   <= '0;
      ask_word_q    <= '0;
      ask_row_q     <= '0;
      ask_column_q  <= '0;
      run_block_q   <= '0;
      run_word_q    <= '0;
      run_row_q     <= '0;
      run_column_q  <= '0;
      run_x_base_q  <= '0;
      run_g_base_q  <= g_scaled;
      run_tap_q     <= '0;
      run_row_tap_q <= '0;
    end else begin
      if (ask_q && list_ready_i) begin
        ask_column_q <= ask_column_end ? '0 : ask_column_q + 3'd3;
        if (ask_column_end) ask_row_q <= ask_row_end ? '0 : ask_row_q + 3'd3;
        if (ask_column_end && ask_row_end) ask_word_q <= ask_word_end ? '0 : ask_word_q + 16'd1;
        if (ask_column_end && ask_row_end && ask_word_end) ask_block_q <= ask_block_q + 16'd1;
      end
      if (window_take) begin
        run_column_q <= run_column_end ? '0 : run_column_q + 3'd3;
        if (run_column_end) begin
          run_row_q     <= run_row_end ? '0 : run_row_q + 3'd3;
          run_row_tap_q <= run_row_end ? '0 : run_row_tap_q + (PsumBits - 2)'(kernel_w) + (PsumBits - 2)'(kernel_w << 1);
          if (run_row_end) begin
            run_word_q   <= run_word_end ? '0 : run_word_q + 16'd1;
            run_x_base_q <= run_word_end ? '0 : run_x_base_q + x_quarter;
            run_tap_q    <= run_tap_q + (PsumBits - 2)'(taps);
            if (run_word_end) begin
              run_block_q  <= run_block_q + 16'd1;
              run_g_base_q <= run_g_base_q + block_words;
            end
          end
        end
      end
    end
  end

  // ---- when a step may start
  logic start, start_conv, start_pass, walking, walk_last, walk_active, room, weights_good;
  logic claimed_q, pending_q;
  logic [6:0] space_q;
  logic [2:0] gap_q;
  logic [1:0] half_busy_q;
  logic half_q, weight_output_q;  // half: of the partial sums
  logic word_free_q;
  logic both_q;  // the tile's weight gradient takes both halves
  logic [PsumBits-3:0] word_end_tap;

  assign walking      = walk_active && !walk_last;
  assign weights_good = !next_weights_q || (weights_staged_i && !claimed_q);
  // A weight gradient that fits takes turns with the halves, as output blocks do. For a larger one, the accumulators of a word may be
  // begun anew as soon as the output path is past them.
  assign word_end_tap = run_tap_q + (PsumBits - 2)'(taps);
  assign room         = both_q ? half_busy_q == 2'b00 || word_free_q : !half_busy_q[half_q];

  always_ff @(posedge clk_i) begin
    both_q      <= weight_gradient && (out_blocks != 16'd1 || flags[jb_pkg::FLAG_SELECTIVE]
                                       || dw_block > (PsumBits + 1)'(PsumDepth / 2));
    word_free_q <= weight_output_q && {1'b0, emitted_i[PsumBits-1:3]} >= word_end_tap;
  end
  assign start_conv   = !weight_gradient && !walking && weights_good;
  assign start_pass   = weight_gradient && !walk_active && gap_q == '0 && !pending_q;
  assign start        = state_q == StStart && space_q == '0 && room && (start_conv || start_pass);

  // ---- walks
  logic x_active, g_active, x_row_end, x_image_end, x_last, x_last_row, g_row_end, g_image_end, g_last, g_last_row;
  logic odd_q, first_q, now_first_q;

  jb_sequencer_walk u_x_walk (
    .clk_i,
    .rst_ni,
    .start_i      (start),
    .go_i         (!input_gradient && !next_empty_q),
    .images_i     (walk_images_q),
    .rows_i       (walk_rows_q),
    .columns_i    (walk_columns_q),
    .row_step_i   (forward ? (stride2 ? 3'd4 : 3'd2) : (stride2 ? 3'd2 : 3'd1)),
    .column_step_i(stride2 ? 2'd2 : 2'd1),
    .group_step_i (16'(x_group_o)),
    .image_step_i (16'(x_image_o)),
    .row_i        (next_x_row_q),
    .column_i     (next_x_column_q),
    .base_i       (16'(next_x_base_q)),
    .active_o     (x_active),
    .base_o       (x_base_o),
    .row_o        (x_row_o),
    .column_o     (x_column_o),
    .row_end_o    (x_row_end),
    .image_end_o  (x_image_end),
    .last_o       (x_last),
    .last_row_o   (x_last_row)
  );

  jb_sequencer_walk u_g_walk (
    .clk_i,
    .rst_ni,
    .start_i      (start),
    .go_i         (!forward && !next_empty_q),
    .images_i     (walk_images_q),
    .rows_i       (walk_rows_q),
    .columns_i    (walk_columns_q),
    .row_step_i   (3'd1),
    .column_step_i(2'd1),
    .group_step_i (16'(g_group_o)),
    .image_step_i (16'(g_image)),
    .row_i        (next_g_row_q),
    .column_i     (next_g_column_q),
    .base_i       (16'(next_g_base_q)),
    .active_o     (g_active),
    .base_o       (g_base_o),
    .row_o        (g_row_o),
    .column_o     (g_column_o),
    .row_end_o    (g_row_end),
    .image_end_o  (g_image_end),
    .last_o       (g_last),
    .last_row_o   (g_last_row)
  );

  logic row_end_now, image_end_now;

  assign walk_active   = forward ? x_active : g_active;
  assign walk_last     = forward ? x_last : g_last;
  assign row_end_now   = forward ? x_row_end : g_row_end;
  assign image_end_now = forward ? x_image_end : g_image_end;
  assign x_valid_o     = x_active;
  assign g_valid_o     = g_active;
  assign x_many_o      = forward && channels;
  assign g_many_o      = weight_gradient || channels;

  // ---- what goes with the requests
  logic [PsumBits-1:0] address_q, address_row_q, address_image_q, row_address, image_address, address_row_step;
  logic [1:0] address_column_step;
  logic [1:0] products_q;
  logic [63:0] macs_q;
  logic [3:0] product_quads;
  logic [8:0] macs_add_q;

  assign address_column_step = phases ? 2'd2 : 2'd1;
  assign address_row_step    = forward ? g_columns[PsumBits-1:0]
                                       : phases ? {x_columns[PsumBits-2:0], 1'b0} : x_columns[PsumBits-1:0];
  assign row_address         = address_row_q + address_row_step;
  assign image_address       = address_image_q + psum_image;

  always_ff @(posedge clk_i) begin
    if (start) begin
      address_q       <= next_address_q;
      address_row_q   <= next_address_q;
      address_image_q <= next_address_q;
      odd_q           <= next_odd_q;
      now_first_q     <= next_first_q && first;
      first_q         <= 1'b1;
      products_q      <= next_products_q;
      x_word_o        <= next_x_word_q;
      g_word_o        <= next_g_word_q;
    end else if (walk_active) begin
      first_q <= 1'b0;
      if (image_end_now) begin
        address_q       <= image_address;
        address_row_q   <= image_address;
        address_image_q <= image_address;
      end else if (row_end_now) begin
        address_q     <= row_address;
        address_row_q <= row_address;
      end else begin
        address_q <= address_q + PsumBits'(address_column_step);
      end
    end
  end

  // ---- delays
  localparam int Delay = 14;
  logic [Delay:1] valid_q, fresh_q;
  logic [10:1] last_request_q;
  logic [6:1] odd_delay_q, first_delay_q;
  logic [PsumBits-1:0] address_delay_q[Delay];
  logic [17:1] start_first_q;
  logic [19:1] start_q, start_weights_q, start_weights_end_q, start_block_end_q, start_tile_end_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q         <= '0;
      last_request_q  <= '0;
      start_q         <= '0;
      start_weights_q <= '0;
    end else begin
      valid_q         <= {valid_q[Delay-1:1], walk_active};
      last_request_q  <= {last_request_q[9:1], walk_active && walk_last};
      start_q         <= {start_q[18:1], start};
      start_weights_q <= {start_weights_q[18:1], start && next_weights_q};
    end
  end

  always_ff @(posedge clk_i) begin
    fresh_q           <= {fresh_q[Delay-1:1], now_first_q};
    odd_delay_q       <= {odd_delay_q[5:1], odd_q};
    first_delay_q     <= {first_delay_q[5:1], first_q};
    start_first_q     <= {start_first_q[16:1], next_first_q && first};
    start_weights_end_q <= {start_weights_end_q[18:1], next_weights_end_q};
    start_block_end_q <= {start_block_end_q[18:1], next_block_end_q};
    start_tile_end_q  <= {start_tile_end_q[18:1], next_tile_end_q};
    address_delay_q[0] <= {half_q, address_q[PsumBits-2:0]};
    for (int n = 1; n < Delay; n++) address_delay_q[n] <= address_delay_q[n-1];
  end

  assign odd_o              = odd_delay_q[6];
  assign pixel_o            = valid_q[6] && weight_gradient;
  assign pixel_first_o      = first_delay_q[6];
  assign swap_o             = start_weights_q[7];
  assign add_o              = valid_q[Delay] && !weight_gradient;
  assign add_address_o      = address_delay_q[Delay-1];
  assign fresh_o            = weight_gradient ? first : fresh_q[Delay];
  assign capture_o          = last_request_q[10] && weight_gradient;
  assign initial_load_o     = start_q[17];
  assign initial_use_o      = start_first_q[17] && !weight_gradient;
  // The initial sums must stay until they have been copied.
  assign weights_last_o     = start_weights_q[19] && start_weights_end_q[19];
  assign weights_taken_o    = weights_last_o || (start_weights_q[12] && !start_weights_end_q[12]);
  assign weights_over_o     = start_q[19] && start_block_end_q[19] && !weight_gradient;
  assign weights_finished_o = start_tile_end_q[19];
  assign pass_load_o        = start_q[6] && weight_gradient;
  assign pass_take          = pass_load_o || (state_q == StPrepare && weight_gradient && pass_valid_i && !pending_q && pass_empty_i);
  assign pass_ready_o       = pass_take;

  // ---- the tile's course
  logic [4:0] tail_q;
  logic tile_take, job_take, after_weights_q, seen_q;
  logic [15:0] next_block_q;

  // A weight gradient may begin while the one before leaves, unless its lists overwrite the signs that leave.
  always_ff @(posedge clk_i) begin
    next_block_q    <= out_block + out_blocks;
    after_weights_q <= tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_WEIGHT_GRADIENT
                       && tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_FIRST]
                       && (!flags[jb_pkg::FLAG_SELECTIVE]
                           || (tile_i[jb_pkg::X_WORDS_LSB+:16] == x_words
                               && tile_i[jb_pkg::KERNEL_H_LSB+:8] == kernel_h
                               && tile_i[jb_pkg::KERNEL_W_LSB+:8] == kernel_w
                               && tile_i[jb_pkg::OUT_BLOCK_LSB+:16] == next_block_q));
    seen_q          <= tile_valid_i && !tile_take;  // so after_weights_q belongs to the tile that is offered
  end

  assign tile_ready_o = state_q == StIdle && seen_q && (!weight_output_q || after_weights_q) && !predict_busy_i;
  assign tile_take    = tile_valid_i && tile_ready_o;
  assign job_take     = job_valid_o && job_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q         <= StIdle;
      start_o         <= 1'b0;
      release_valid_o <= 1'b0;
      claimed_q       <= 1'b0;
      pending_q       <= 1'b0;
      half_busy_q     <= 2'b00;
      half_q          <= 1'b0;
      weight_output_q <= 1'b0;
      space_q         <= '0;
      gap_q           <= '0;
    end else begin
      start_o         <= tile_take;
      release_valid_o <= 1'b0;
      if (space_q != '0) space_q <= space_q - 7'd1;
      if (walk_active) gap_q <= 3'(PassGap);
      else if (gap_q != '0) gap_q <= gap_q - 3'd1;
      if (weights_taken_o) claimed_q <= 1'b0;
      if (pass_load_o) pending_q <= 1'b0;
      if (block_done_i) begin
        if (running_both_q) begin
          half_busy_q     <= 2'b00;
          weight_output_q <= 1'b0;
        end else if (running_emit_q) begin
          half_busy_q[running_half_q] <= 1'b0;
        end
      end
      if (start) begin
        space_q   <= weight_gradient ? 7'(DrainSpace) : 7'(ConvolutionSpace);
        if (next_weights_q) claimed_q <= 1'b1;
        pending_q <= weight_gradient;
      end

      unique case (state_q)
        StIdle: if (tile_take) state_q <= StSetup;
        StSetup: if (tail_q == 5'(Setup)) state_q <= predict_only ? StFinish : StPrepare;
        StPrepare: begin
          if (!weight_gradient) begin
            state_q <= StStart;
          end else if (!pending_q) begin
            if (windows_done) state_q <= StTail;
            else if (pass_valid_i && !pass_empty_i) state_q <= StStart;
          end
        end
        StStart: if (start) state_q <= weight_gradient ? StPrepare : StNext;
        StNext: state_q <= next_block_end_q ? StTail : StPrepare;
        StTail: begin
          if (tail_q == 5'(Tail) && !drain_busy_i && gap_q == '0) begin
            if (last && !weight_gradient && block_q != out_blocks) state_q <= StJob;
            else state_q <= StFinish;
          end
        end
        StJob: begin
          if (job_take) begin
            half_busy_q[half_q] <= 1'b1;
            half_q              <= !half_q;
            state_q             <= StPrepare;
          end
        end
        StFinish: begin
          if (!predict_busy_i && products_ready && tail_q == 5'(Tail)) begin
            state_q         <= StEnd;
            release_valid_o <= 1'b1;
          end
        end
        default: begin  // StEnd
          if (job_take) begin
            if (job_emit_o && both_q) begin
              half_busy_q     <= 2'b11;
              weight_output_q <= 1'b1;
            end else if (job_emit_o) begin
              half_busy_q[half_q] <= 1'b1;
              half_q              <= !half_q;
            end
            state_q <= StIdle;
          end
        end
      endcase
    end
  end

  // a cycle's products, 16 for each four of output channels and each four that are summed over; twice where there are two rows
  always_ff @(posedge clk_i) begin
    macs_add_q <= '0;
    if (walk_active && !weight_gradient) begin
      macs_add_q <= forward && !(x_last_row && g_rows[0]) ? {product_quads, 5'd0} : {1'b0, product_quads, 4'd0};
    end
  end

  logic products_ready, running_both_q, running_emit_q, running_half_q;

  always_ff @(posedge clk_i) begin
    if (job_take) begin
      running_both_q <= both_q && job_emit_o;
      running_emit_q   <= job_emit_o;
      running_half_q   <= half_q;
    end
  end

  always_ff @(posedge clk_i) begin
    // setup and tail
    if (state_q == StSetup || state_q == StTail || state_q == StFinish) begin
      if (state_q != StSetup && walk_active) tail_q <= '0;
      else if (tail_q != 5'(Tail)) tail_q <= tail_q + 5'd1;
    end else begin
      tail_q <= '0;
    end

    if (tile_take) begin
      tile_q           <= tile_i;
      half_o           <= tile_half_i;
      release_half_o   <= tile_half_i;
      compute_cycles_o <= '0;
      stall_cycles_o   <= '0;
      macs_q           <= '0;
    end else begin
      if (walk_active) compute_cycles_o <= compute_cycles_o + 32'd1;
      else if (state_q == StPrepare || state_q == StStart || state_q == StNext || state_q == StJob) begin
        stall_cycles_o <= stall_cycles_o + 32'd1;
      end
      macs_q <= macs_q + {55'd0, macs_add_q};
    end

    if (start_o) begin
      block_q     <= '0;
      phase_q     <= '0;
      group_q     <= '0;
      row_q       <= '0;
      column_q    <= '0;
      word_base_q <= '0;
      quads_q     <= (input_gradient ? {2'd0, x_words, 1'b0} : {3'd0, g_words}) - 19'(19'(out_block) << QuadBits);
    end else if (state_q == StNext) begin
      column_q <= column_q + column_step;
      if (column_end_q) begin
        column_q <= {7'd0, phase_q[0]};
        row_q    <= row_q + row_step;
        if (row_end_q) begin
          row_q       <= {7'd0, phase_q[1]};
          group_q     <= group_q + group_step;
          word_base_q <= word_base_q + word_step;
          if (group_end_q) begin
            group_q     <= '0;
            word_base_q <= '0;
            phase_q     <= phases ? phase_next : 2'd0;
            row_q       <= phases ? {7'd0, phase_next[1]} : 8'd0;
            column_q    <= phases ? {7'd0, phase_next[0]} : 8'd0;
            if (next_block_end_q) block_q <= block_q + 16'd1;
          end
        end
      end
    end else if (weight_gradient ? block_take : job_take) begin
      quads_q <= quads_q - 19'(Quads);
    end

    if (state_q == StPrepare) begin
      next_x_row_q     <= x_row_d;
      next_x_column_q  <= x_column_d;
      next_g_row_q     <= g_row_d;
      next_g_column_q  <= g_column_d;
      next_x_base_q    <= weight_gradient ? run_x_base_q : word_base_q;
      next_g_base_q    <= weight_gradient ? run_g_base_q : word_base_q;
      next_x_word_q    <= weight_gradient ? run_word_q : {1'b0, group_q[15:1]};
      next_g_word_q    <= weight_gradient ? list_g_word : group_q;
      walk_images_q    <= images - 16'd1;
      walk_rows_q      <= rows_d - 16'd1;
      walk_columns_q   <= columns_d - 16'd1;
      next_empty_q     <= rows_d == '0 || columns_d == '0;
      next_odd_q       <= group_q[0];
      next_first_q     <= step_first;
      next_weights_q   <= !weight_gradient && !empty_phase;
      next_weights_end_q <= weights_end;
      column_end_q     <= column_end;
      row_end_q        <= row_end;
      group_end_q      <= group_end;
      next_block_end_q <= block_end;
      next_tile_end_q  <= block_end && block_q == out_blocks - 16'd1;
      next_address_q   <= (row_start ? x_columns[PsumBits-1:0] : '0) + PsumBits'(column_start);
      if (empty_phase) next_products_q <= 2'd0;
      else if (channels) next_products_q <= left_q < 16'd3 ? left_q[1:0] : 2'd3;
      else next_products_q <= kernel_w - column_q < 8'd3 ? 2'(kernel_w - column_q) : 2'd3;
    end
  end

  logic [1:0] phase_next;
  logic [BankBits-1:0] word_step;

  assign phase_next = phase_q + 2'd1;

  // from one group of channels to the next: whole words of dz, halves of words of x
  always_comb begin
    if (input_gradient) word_step = channels ? g_quarter + (g_quarter << 1) : g_quarter;
    else if (channels) word_step = group_q[0] ? x_quarter << 1 : x_quarter;
    else word_step = group_q[0] ? x_quarter : '0;
  end

  always_comb begin
    unique case (products_q)
      2'd0: product_quads = '0;
      2'd1: product_quads = {1'b0, quads};
      2'd2: product_quads = {quads, 1'b0};
      default: product_quads = {1'b0, quads} + {quads, 1'b0};
    endcase
  end

  // ---- jobs: a block; or a whole tile's weight gradient, behind whose last block nothing is left of quads_q
  assign job_valid_o     = state_q == StJob || state_q == StEnd;
  assign job_emit_o      = last && !predict_only;
  assign job_end_o       = state_q == StEnd;
  assign job_half_o      = half_q;
  assign job_both_o      = both_q;
  assign job_sign_base_o = sign_base;
  assign job_dw_words_o  = 16'({run_tap_q, 3'b000});
  assign job_dw_block_o  = 16'(dw_block);

  always_comb begin
    if (!weight_gradient) job_quads_o = quads;
    else job_quads_o = quads_q[18] ? 3'(Quads) + quads_q[2:0] : 3'(Quads);
  end

  // ---- other units
  assign weights_start_o = start_o && (forward || input_gradient);

  assign geometry_valid_o = state_q != StIdle && !(state_q == StSetup && tail_q < 5'(Setup));

  logic products_start_q;
  logic [63:0] products;

  // All passes have been taken when the tail begins.
  always_ff @(posedge clk_i) products_start_q <= state_q == StPrepare && weight_gradient && !pending_q && windows_done;

  jb_sequencer_products u_products (
    .clk_i,
    .rst_ni,
    .start_i    (start_o && weight_gradient),
    .images_i   (images),
    .rows_i     (g_rows),
    .columns_i  (g_columns),
    .finish_i   (products_start_q),
    .decided_i,
    .undecided_i,
    .ready_o    (products_ready),
    .macs_o     (products),
    .gated_o
  );

  assign macs_o = weight_gradient ? products : macs_q;

  logic unused;
  assign unused = ^{flags, g_last_row, taps, emitted_i};
endmodule

`default_nettype wire
