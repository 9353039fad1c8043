// PSG in the accelerator: the sign predictor beside the input gradient, and the work lists of the weight gradient that follow from it.
// hw/README.md ("The core") describes the ports; numerics.md (section 6) and "What a tile computes, exactly" the results.
//
// Prediction: each cycle takes two pixels of dz, one below the other (4 channels of their leading bits, kept beside the dz load) and for each
// three neighbouring columns of x (8, 4 or 2 channels with 16, 8 or 4 output lanes): OutLanes * 12 products in LUTs, 100 % of them useful
// for kernels 3 wide and an even number of rows.
// Sums: jb_predictor_sums, word = tap number * 8 + (half of the output block, or half of the word of x) * 4 + 0..3, where tap number =
// (block * x_words + word of x) * kernel_h * kernel_w + kernel row * kernel_w + kernel column. With 16 lanes a word is two
// channels of x by 8 of dz, otherwise one channel of x by all lanes.
`default_nettype none

module jb_predictor #(
  parameter int Config = jb_pkg::CONFIG_DEFAULT
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  // Tile; steady until the next tile_start_i
  input  wire logic          tile_start_i,
  input  wire logic [1023:0] tile_i,
  input  wire logic          half_i,
  output      logic          predict_busy_o,      // from the cycle after tile_start_i until sums and maximum are complete
  // dz as it is loaded: image, row, column, word in this order
  input  wire logic          load_valid_i,
  input  wire logic          load_half_i,
  input  wire logic [15:0]   load_image_i,
  input  wire logic [15:0]   load_row_i,
  input  wire logic [15:0]   load_column_i,
  input  wire logic [15:0]   load_word_i,
  input  wire logic [63:0]   load_data_i,
  // x buffer: a request per cycle, its window 6 cycles later
  input  wire logic          x_geometry_valid_i,  // low in the cycle after tile_start_i if the next two have to wait
  input  wire logic [11:0]   x_words_columns_i,   // x_words * ceil(x_columns / 4)
  input  wire logic [15:0]   x_image_i,           // ceil(x_rows / 4) * x_words_columns_i
  output      logic          x_valid_o,
  output      logic [15:0]   x_base_o,
  output      logic [17:0]   x_row_o,
  output      logic [17:0]   x_column_o,
  output      logic [1:0]    x_word_o,
  input  wire logic [575:0]  x_window_i,          // row 0 for this pixel of dz, row 1 for the one below
  // Windows of the weight gradient, and the passes of each
  input  wire logic          list_valid_i,
  output      logic          list_ready_o,        // as soon as the one before is read: ask early
  input  wire logic [15:0]   list_block_i,
  input  wire logic [15:0]   list_word_i,
  input  wire logic [2:0]    list_row_i,
  input  wire logic [2:0]    list_column_i,
  output      logic          pass_valid_o,
  input  wire logic          pass_ready_i,
  output      logic          pass_last_o,
  output      logic          pass_empty_o,
  output      logic [1:0]    pass_number_o,
  output      logic [36*jb_pkg::CONFIG_OUT_LANES[32*Config+:32]-1:0] pass_tap_o,
  output      logic [24*jb_pkg::CONFIG_OUT_LANES[32*Config+:32]-1:0] pass_lane_o,
  output      logic          step_valid_o,        // passes as they are made, see jb_scheduler
  output      logic [7:0]    step_o,
  output      logic [10*(jb_pkg::CONFIG_OUT_LANES[32*Config+:32]/4)-1:0] step_record_o,
  // Signs of elements whose window was listed in this tile, 2 cycles from the address
  input  wire logic          sign_valid_i,
  input  wire logic [15:0]   sign_address_i,
  output      logic [jb_pkg::CONFIG_OUT_LANES[32*Config+:32]-1:0]   sign_decided_o,
  output      logic [2*jb_pkg::CONFIG_OUT_LANES[32*Config+:32]-1:0] sign_value_o,
  output      logic [31:0]   decided_o,
  output      logic [31:0]   undecided_o,
  output      logic [63:0]   peak_o
);
  localparam int OutLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32];
  localparam int BankDepth = jb_pkg::CONFIG_BANK_DEPTH[32*Config+:32];
  localparam int Depth = jb_pkg::CONFIG_PREDICTOR_DEPTH[32*Config+:32];
  localparam int XChannels = OutLanes / 2;
  localparam int Active = OutLanes == 16 ? 8 : 4;
  localparam int TapWords = 4 * XChannels / Active;
  localparam int GradientBits = $clog2(4 * BankDepth);
  localparam int Latency = 6;  // of the x buffer

  initial begin
    if (OutLanes != 4 && OutLanes != 8 && OutLanes != 16) $fatal(1, "OutLanes must be 4, 8 or 16, got %0d", OutLanes);
  end

  // ---- prediction: start when the tile and the geometry of its x are there
  logic pending_q, start, sequencer_busy, predicts, done_unused;
  logic [15:0] group_step;

  assign group_step     = {4'd0, x_words_columns_i};
  assign predicts       = tile_i[jb_pkg::OPERATION_LSB+:8] == jb_pkg::OP_PREDICT
                          || tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_PREDICT];
  assign start          = pending_q && x_geometry_valid_i;
  assign predict_busy_o = pending_q || sequencer_busy;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) pending_q <= 1'b0;
    else if (tile_start_i) pending_q <= predicts;
    else if (start) pending_q <= 1'b0;
  end

  logic pixel_valid, pixel_lower, pixel_end, released, drained;
  logic [1:0] pixel_part;
  logic [GradientBits-1:0] pixel_gradient;
  logic [15:0] segment_tap;
  logic segment_first, segment_last;
  logic [1:0] segment_columns, segment_part, segment_group;

  jb_predictor_sequencer #(
    .Groups             (OutLanes / 4),
    .Parts              (8 / XChannels),
    .GradientAddressBits(GradientBits)
  ) u_sequencer (
    .clk_i,
    .rst_ni,
    .start_i          (start),
    .tile_i,
    .group_step_i     (group_step),
    .image_step_i     (x_image_i),
    .busy_o           (sequencer_busy),
    .done_o           (done_unused),
    .valid_o          (pixel_valid),
    .base_o           (x_base_o),
    .row_o            (x_row_o),
    .column_o         (x_column_o),
    .word_o           (x_word_o),
    .gradient_o       (pixel_gradient),
    .lower_o          (pixel_lower),
    .part_o           (pixel_part),
    .end_o            (pixel_end),
    .segment_tap_o    (segment_tap),
    .segment_part_o   (segment_part),
    .segment_group_o  (segment_group),
    .segment_columns_o(segment_columns),
    .segment_first_o  (segment_first),
    .segment_last_o   (segment_last),
    .released_i       (released),
    .drained_i        (drained)
  );

  assign x_valid_o = pixel_valid;

  // The copy of dz answers after 3 cycles, x after 6
  logic [GradientBits*(Latency-3)-1:0] gradient_q;
  logic [5*Latency-1:0] tag_q;
  logic [39:0] gradients_upper, gradients_lower;
  logic late_valid, late_lower, late_end;
  logic [1:0] late_part;

  always_ff @(posedge clk_i) begin
    gradient_q <= {gradient_q[GradientBits*(Latency-4)-1:0], pixel_gradient};
    tag_q      <= {tag_q[5*(Latency-1)-1:0], pixel_valid && !start, pixel_lower, pixel_part, pixel_end};
  end
  assign {late_valid, late_lower, late_part, late_end} = tag_q[5*(Latency-1)+:5];

  jb_predictor_gradients #(
    .BankDepth(BankDepth)
  ) u_gradients (
    .clk_i,
    .load_valid_i,
    .load_half_i,
    .load_first_i(load_image_i == '0 && load_row_i == '0 && load_column_i == '0 && load_word_i == '0),
    .load_start_i(load_column_i == '0 && load_word_i == '0),
    .load_odd_i  (load_row_i[0]),
    .load_data_i,
    .half_i,
    .address_i   (gradient_q[GradientBits*(Latency-4)+:GradientBits]),
    .even_o      (gradients_upper),
    .odd_o       (gradients_lower)
  );

  // Channels of this pass: the leading 5 bits of x of both pixels
  logic [3*XChannels*5-1:0] x_upper, x_lower;

  for (genvar t = 0; t < 3; t++) begin : gen_tap
    for (genvar c = 0; c < XChannels; c++) begin : gen_channel
      logic [7:0] upper, lower;
      always_comb begin
        upper = x_window_i[64*t+8*c+:8];
        lower = x_window_i[64*(3+t)+8*c+:8];
        for (int part = 1; part < 8 / XChannels; part++) begin
          if (late_part == 2'(part)) begin
            upper = x_window_i[64*t+8*(part*XChannels+c)+:8];
            lower = x_window_i[64*(3+t)+8*(part*XChannels+c)+:8];
          end
        end
      end
      assign x_upper[5*(t*XChannels+c)+:5] = upper[7:3];
      assign x_lower[5*(t*XChannels+c)+:5] = lower[7:3];
      logic unused_bits;
      assign unused_bits = ^{upper, lower};
    end
  end

  logic captured, drain_take, drain_step;
  logic [3:0] drain_select;
  logic [Active*20-1:0] added;

  jb_predictor_lanes #(
    .XChannels(XChannels),
    .Active   (Active)
  ) u_lanes (
    .clk_i,
    .clear_i       (start),
    .valid_i       (late_valid),
    .end_i         (late_end),
    .unsigned_i    (tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_X_UNSIGNED]),
    .xa_i          (x_upper),
    .xb_i          (x_lower),
    .ga_i          (gradients_upper),
    .gb_i          (late_lower ? gradients_lower : '0),
    .captured_o    (captured),
    .take_i        (drain_take),
    .drain_step_i  (drain_step),
    .drain_select_i(drain_select),
    .sums_o        (added)
  );

  // ---- sums, shared with the scheduler
  logic read_request, read_answer;
  logic [$clog2(Depth)-1:0] read_address;
  logic [35:0] read_limit, peak;
  logic [OutLanes-1:0] read_above, read_negative;

  jb_predictor_sums #(
    .OutLanes(OutLanes),
    .Active  (Active),
    .TapWords(TapWords),
    .Depth   (Depth)
  ) u_sums (
    .clk_i,
    .rst_ni,
    .start_i        (start),
    .busy_i         (sequencer_busy),
    .captured_i     (captured),
    .tap_i          (segment_tap),
    .part_i         (OutLanes == 16 ? {1'b0, segment_group[1]} : segment_part),
    .upper_i        (segment_group[0]),
    .columns_i      (segment_columns),
    .replace_i      (tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_PREDICT_FIRST] && segment_first),
    .check_i        (tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_PREDICT_LAST] && segment_last),
    .take_o         (drain_take),
    .step_o         (drain_step),
    .select_o       (drain_select),
    .added_i        (added),
    .released_o     (released),
    .drained_o      (drained),
    .peak_o         (peak),
    .read_valid_i   (read_request),
    .read_address_i (read_address),
    .read_limit_i   (read_limit),
    .read_valid_o   (read_answer),
    .read_above_o   (read_above),
    .read_negative_o(read_negative)
  );

  assign peak_o = {28'd0, peak};

  jb_scheduler #(
    .OutLanes(OutLanes),
    .Depth   (Depth)
  ) u_scheduler (
    .clk_i,
    .rst_ni,
    .tile_start_i,
    .tile_i,
    .peak_i         (peak),
    .read_valid_o   (read_request),
    .read_address_o (read_address),
    .read_limit_o   (read_limit),
    .read_valid_i   (read_answer),
    .read_above_i   (read_above),
    .read_negative_i(read_negative),
    .list_valid_i,
    .list_ready_o,
    .list_block_i,
    .list_word_i,
    .list_row_i,
    .list_column_i,
    .pass_valid_o,
    .pass_ready_i,
    .pass_last_o,
    .pass_empty_o,
    .pass_number_o,
    .pass_tap_o,
    .pass_lane_o,
    .step_valid_o,
    .step_o,
    .step_record_o,
    .sign_address_i,
    .sign_decided_o,
    .sign_value_o,
    .decided_o,
    .undecided_o
  );

  logic unused;
  assign unused = ^{sign_valid_i, x_window_i, late_part};
endmodule

`default_nettype wire
