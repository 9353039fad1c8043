// Runs a tile: cuts it into output blocks, phases and steps (forward, input gradient: one group of weights over all pixels;
// weight gradient: one pass of the scheduler's list), starts the walks over the feature buffers, keeps the steps apart as far
// as weights, partial sums and the emptying of the array demand, and hands finished blocks to the output path.
//
// jb_sequencer_tile takes the tile, jb_sequencer_geometry makes its constants, jb_sequencer_control leads through its course. Of a step,
// jb_sequencer_order says which is next, jb_sequencer_start (with jb_sequencer_halves) when it starts; jb_sequencer_requests makes its
// requests, and jb_sequencer_pipeline what follows them through the array.
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
  localparam int Setup = (PsumBits > BankBits ? PsumBits : BankBits) + (BankBits > 6 ? BankBits : 6) + 1;  // see jb_sequencer_geometry

  // ---- the tile
  logic idle, take, input_gradient, predict_only, phases, weight_output, last;

  jb_sequencer_tile u_tile (
    .clk_i,
    .tile_valid_i,
    .tile_ready_o,
    .tile_i,
    .tile_half_i,
    .idle_i           (idle && !predict_busy_i),
    .weight_output_i  (weight_output),
    .take_o           (take),
    .tile_o,
    .half_o,
    .forward_o,
    .input_gradient_o (input_gradient),
    .weight_gradient_o,
    .predict_only_o   (predict_only),
    .phases_o         (phases)
  );

  assign last            = tile_o[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_LAST];
  assign release_half_o  = half_o;
  assign weights_start_o = start_o && (forward_o || input_gradient);

  logic [BankBits-1:0] x_quarter, g_quarter, g_image, g_block;
  logic [PsumBits-1:0] psum_image;
  logic [PsumBits:0] dw_block;
  logic [5:0] taps;

  jb_sequencer_geometry #(
    .BankBits(BankBits),
    .PsumBits(PsumBits),
    .QuadBits($clog2(Quads))
  ) u_geometry (
    .clk_i,
    .start_i     (start_o),
    .tile_i      (tile_o),
    .forward_i   (forward_o),
    .x_quarter_o (x_quarter),
    .x_group_o,
    .x_image_o,
    .g_quarter_o (g_quarter),
    .g_group_o,
    .g_image_o   (g_image),
    .g_block_o   (g_block),
    .psum_image_o(psum_image),
    .taps_o      (taps),
    .dw_block_o  (dw_block),
    .sign_o      (job_sign_base_o)
  );

  // ---- its course
  logic setup, setup_end, prepare, step_wait, count, stalled, passes_end, gap, job_take;
  logic step_start, pass_pending, windows_done, blocks_done, products_ready;
  logic active, row_end, image_end, last_request, x_last_row;
  logic step_weights_end, step_block_end, step_tile_end;

  jb_sequencer_control #(
    .Setup(Setup)
  ) u_control (
    .clk_i,
    .rst_ni,
    .take_i           (take),
    .weight_gradient_i(weight_gradient_o),
    .predict_only_i   (predict_only),
    .last_i           (last),
    .idle_o           (idle),
    .start_o,
    .setup_o          (setup),
    .setup_end_o      (setup_end),
    .geometry_valid_o,
    .release_o        (release_valid_o),
    .pass_here_i      (pass_valid_i && !pass_empty_i),
    .pass_pending_i   (pass_pending),
    .windows_done_i   (windows_done),
    .step_start_i     (step_start),
    .block_end_i      (step_block_end),
    .blocks_done_i    (blocks_done),
    .walk_active_i    (active),
    .prepare_o        (prepare),
    .step_wait_o      (step_wait),
    .count_o          (count),
    .stalled_o        (stalled),
    .passes_end_o     (passes_end),
    .gap_o            (gap),
    .drain_busy_i,
    .predict_busy_i,
    .products_ready_i (products_ready),
    .job_valid_o,
    .job_ready_i,
    .job_take_o       (job_take),
    .job_end_o
  );

  // ---- which step is next
  logic [15:0] step_images, step_rows, step_columns, step_x_word, step_g_word;
  logic [17:0] step_x_row, step_x_column, step_g_row, step_g_column;
  logic [BankBits-1:0] step_x_base, step_g_base;
  logic [PsumBits-1:0] step_address;
  logic step_empty, step_first, step_odd, step_weights;
  logic [1:0] step_products;
  logic [2:0] quads;
  logic [18:0] quads_left;
  logic [PsumBits-4:0] window_tap;
  logic [PsumBits-3:0] word_tap, word_end_tap;

  // A pass is taken when it is copied, an empty one as soon as it is there.
  assign pass_ready_o = pass_load_o || (prepare && weight_gradient_o && pass_valid_i && !pass_pending && pass_empty_i);

  jb_sequencer_order #(
    .OutLanes(OutLanes),
    .BankBits(BankBits),
    .PsumBits(PsumBits)
  ) u_order (
    .clk_i,
    .rst_ni,
    .start_i          (start_o),
    .setup_i          (setup),
    .setup_end_i      (setup_end),
    .prepare_i        (prepare),
    .count_i          (count),
    .block_take_i     (job_take),
    .window_take_i    (pass_ready_o && pass_last_i),
    .tile_i           (tile_o),
    .forward_i        (forward_o),
    .input_gradient_i (input_gradient),
    .weight_gradient_i(weight_gradient_o),
    .phases_i         (phases),
    .x_quarter_i      (x_quarter),
    .g_quarter_i      (g_quarter),
    .g_block_i        (g_block),
    .taps_i           (taps),
    .list_valid_o,
    .list_ready_i,
    .list_block_o,
    .list_word_o,
    .list_row_o,
    .list_column_o,
    .images_o         (step_images),
    .rows_o           (step_rows),
    .columns_o        (step_columns),
    .empty_o          (step_empty),
    .x_row_o          (step_x_row),
    .x_column_o       (step_x_column),
    .x_base_o         (step_x_base),
    .x_word_o         (step_x_word),
    .g_row_o          (step_g_row),
    .g_column_o       (step_g_column),
    .g_base_o         (step_g_base),
    .g_word_o         (step_g_word),
    .address_o        (step_address),
    .first_o          (step_first),
    .odd_o            (step_odd),
    .weights_o        (step_weights),
    .products_o       (step_products),
    .weights_end_o    (step_weights_end),
    .block_end_o      (step_block_end),
    .tile_end_o       (step_tile_end),
    .blocks_done_o    (blocks_done),
    .quads_o          (quads),
    .quads_left_o     (quads_left),
    .windows_done_o   (windows_done),
    .window_tap_o     (window_tap),
    .word_tap_o       (word_tap),
    .word_end_tap_o   (word_end_tap)
  );

  // ---- when it starts
  logic half, both, room;

  jb_sequencer_start u_start (
    .clk_i,
    .rst_ni,
    .weight_gradient_i(weight_gradient_o),
    .wait_i           (step_wait),
    .room_i           (room),
    .walk_active_i    (active),
    .walk_last_i      (last_request),
    .gap_i            (gap),
    .weights_i        (step_weights),
    .weights_staged_i,
    .weights_taken_i  (weights_taken_o),
    .pass_load_i      (pass_load_o),
    .pass_pending_o   (pass_pending),
    .start_o          (step_start)
  );

  jb_sequencer_halves #(
    .PsumDepth(PsumDepth)
  ) u_halves (
    .clk_i,
    .rst_ni,
    .tile_i           (tile_o),
    .weight_gradient_i(weight_gradient_o),
    .dw_block_i       (dw_block),
    .word_end_tap_i   (word_end_tap),
    .job_take_i       (job_take),
    .job_end_i        (job_end_o),
    .job_emit_i       (job_emit_o),
    .block_done_i,
    .emitted_i,
    .half_o           (half),
    .both_o           (both),
    .weight_output_o  (weight_output),
    .room_o           (room)
  );

  assign pass_base_o = {both ? window_tap[PsumBits-4] : half, window_tap[PsumBits-5:0], 3'd0};

  // ---- what it does
  jb_sequencer_requests #(
    .BankBits(BankBits)
  ) u_requests (
    .clk_i,
    .rst_ni,
    .start_i          (step_start),
    .tile_i           (tile_o),
    .forward_i        (forward_o),
    .input_gradient_i (input_gradient),
    .weight_gradient_i(weight_gradient_o),
    .x_group_i        (x_group_o),
    .x_image_i        (x_image_o),
    .g_group_i        (g_group_o),
    .g_image_i        (g_image),
    .images_i         (step_images),
    .rows_i           (step_rows),
    .columns_i        (step_columns),
    .empty_i          (step_empty),
    .step_x_row_i     (step_x_row),
    .step_x_column_i  (step_x_column),
    .step_x_base_i    (step_x_base),
    .step_x_word_i    (step_x_word),
    .step_g_row_i     (step_g_row),
    .step_g_column_i  (step_g_column),
    .step_g_base_i    (step_g_base),
    .step_g_word_i    (step_g_word),
    .x_valid_o,
    .x_many_o,
    .x_base_o,
    .x_row_o,
    .x_column_o,
    .x_word_o,
    .g_valid_o,
    .g_many_o,
    .g_base_o,
    .g_row_o,
    .g_column_o,
    .g_word_o,
    .active_o         (active),
    .row_end_o        (row_end),
    .image_end_o      (image_end),
    .last_o           (last_request),
    .x_last_row_o     (x_last_row)
  );

  jb_sequencer_pipeline #(
    .PsumBits(PsumBits)
  ) u_pipeline (
    .clk_i,
    .rst_ni,
    .tile_i           (tile_o),
    .forward_i        (forward_o),
    .weight_gradient_i(weight_gradient_o),
    .phases_i         (phases),
    .psum_image_i     (psum_image),
    .half_i           (half),
    .start_i          (step_start),
    .address_i        (step_address),
    .odd_i            (step_odd),
    .first_i          (step_first),
    .weights_i        (step_weights),
    .weights_end_i    (step_weights_end),
    .block_end_i      (step_block_end),
    .tile_end_i       (step_tile_end),
    .active_i         (active),
    .row_end_i        (row_end),
    .image_end_i      (image_end),
    .last_i           (last_request),
    .swap_o,
    .weights_taken_o,
    .weights_last_o,
    .weights_over_o,
    .weights_finished_o,
    .pass_load_o,
    .capture_o,
    .odd_o,
    .pixel_o,
    .pixel_first_o,
    .add_o,
    .add_address_o,
    .fresh_o,
    .initial_load_o,
    .initial_use_o
  );

  jb_sequencer_account u_account (
    .clk_i,
    .rst_ni,
    .take_i           (take),
    .start_i          (start_o),
    .tile_i           (tile_o),
    .forward_i        (forward_o),
    .weight_gradient_i(weight_gradient_o),
    .step_start_i     (step_start),
    .products_i       (step_products),
    .quads_i          (quads),
    .active_i         (active),
    .x_last_row_i     (x_last_row),
    .stalled_i        (stalled),
    .passes_end_i     (passes_end),
    .decided_i,
    .undecided_i,
    .products_ready_o (products_ready),
    .compute_cycles_o,
    .stall_cycles_o,
    .macs_o,
    .gated_o
  );

  // ---- jobs: a block; or a whole tile's weight gradient, behind whose last block nothing is left of the quads
  assign job_emit_o     = last && !predict_only;
  assign job_half_o     = half;
  assign job_both_o     = both;
  assign job_dw_words_o = 16'({word_tap, 3'b000});
  assign job_dw_block_o = 16'(dw_block);
  assign job_quads_o    = !weight_gradient_o ? quads : quads_left[18] ? 3'(Quads) + quads_left[2:0] : 3'(Quads);

  logic unused;
  assign unused = ^quads_left;
endmodule

`default_nettype wire
