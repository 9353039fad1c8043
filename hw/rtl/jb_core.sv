// The core: feature buffers, array, partial sums, sequencer, predictor, scheduler and output path. It takes checked tiles whose
// features are in the buffers, streams of weights and masks, and gives a stream of results and the numbers of each tile.
`default_nettype none

module jb_core #(
  parameter int Config = 0
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  // tiles: a checked descriptor, and the half of the buffers that holds its features
  input  wire logic          tile_valid_i,
  output      logic          tile_ready_o,
  input  wire logic [1023:0] tile_i,
  input  wire logic          tile_half_i,
  // words for the buffers, always accepted; the tile's geometry is stable while they come
  input  wire logic          load_x_valid_i,
  input  wire logic          load_x_half_i,
  input  wire logic [15:0]   load_x_image_i,
  input  wire logic [15:0]   load_x_row_i,
  input  wire logic [15:0]   load_x_column_i,
  input  wire logic [15:0]   load_x_word_i,
  input  wire logic [63:0]   load_x_data_i,
  input  wire logic [15:0]   load_x_rows_i,
  input  wire logic [15:0]   load_x_columns_i,
  input  wire logic [15:0]   load_x_words_i,
  input  wire logic          load_g_valid_i,
  input  wire logic          load_g_half_i,
  input  wire logic [15:0]   load_g_image_i,
  input  wire logic [15:0]   load_g_row_i,
  input  wire logic [15:0]   load_g_column_i,
  input  wire logic [15:0]   load_g_word_i,
  input  wire logic [63:0]   load_g_data_i,
  input  wire logic [15:0]   load_g_rows_i,
  input  wire logic [15:0]   load_g_columns_i,
  input  wire logic [15:0]   load_g_words_i,
  output      logic          release_valid_o,  // pulse, once per tile: this half is no longer read
  output      logic          release_half_o,
  // packed weights
  input  wire logic          w_valid_i,
  output      logic          w_ready_o,
  input  wire logic [63:0]   w_data_i,
  // masks, in the order of the results
  input  wire logic          m_valid_i,
  output      logic          m_ready_o,
  input  wire logic [63:0]   m_data_i,
  // results
  output      logic          o_valid_o,
  input  wire logic          o_ready_i,
  output      logic [63:0]   o_data_o,
  output      logic          o_last_o,
  // a tile's numbers, after its last result has left
  output      logic          done_valid_o,
  input  wire logic          done_ready_i,
  output      logic [63:0]   done_peak_o,
  output      logic [31:0]   done_saturated_o,
  output      logic [31:0]   done_decided_o,
  output      logic [31:0]   done_undecided_o,
  output      logic [31:0]   done_compute_cycles_o,
  output      logic [31:0]   done_stall_cycles_o,
  output      logic [63:0]   done_macs_o,
  output      logic [63:0]   done_macs_gated_o
);
  localparam int OutLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32];
  localparam int BankDepth = jb_pkg::CONFIG_BANK_DEPTH[32*Config+:32];
  localparam int PsumDepth = jb_pkg::CONFIG_PSUM_DEPTH[32*Config+:32];
  localparam int BankBits = $clog2(BankDepth) - 1;
  localparam int PsumBits = $clog2(PsumDepth);
  localparam int Classes = OutLanes / 4;

  if (Config < 0 || Config >= jb_pkg::CONFIG_COUNT) begin : g_config
    $error("jb_core: no such configuration");
  end

  // ---- sequencer
  logic start, half, forward, weight_gradient, stride2;
  logic [1023:0] tile;
  logic [BankBits-1:0] x_group, x_image, g_group;
  logic predict_busy;
  logic weights_start, weights_staged, swap, weights_taken, weights_last, weights_over, weights_finished;
  logic list_valid, list_ready, pass_valid, pass_ready, pass_last, pass_empty, pass_load, drain_busy, capture;
  logic [15:0] list_block, list_word;
  logic [2:0] list_row, list_column;
  logic geometry_valid;
  logic [PsumBits-1:0] pass_base;
  logic x_valid, x_many, g_valid, g_many;
  logic [15:0] x_base, x_word, g_base, g_word;
  logic [17:0] x_row, x_column, g_row, g_column;
  logic odd, pixel, pixel_first, add, fresh, initial_load, initial_use;
  logic [PsumBits-1:0] add_address;
  logic [PsumBits-1:0] psum_read_address;
  logic job_valid, job_ready, job_emit, job_end, job_half, job_both, block_done;
  logic [15:0] job_sign_base, job_dw_words, job_dw_block;
  logic [2:0] job_quads;
  logic [31:0] compute_cycles, stall_cycles, decided, undecided;
  logic [63:0] macs, macs_gated;

  jb_sequencer #(
    .OutLanes (OutLanes),
    .BankDepth(BankDepth),
    .PsumDepth(PsumDepth)
  ) u_sequencer (
    .clk_i,
    .rst_ni,
    .tile_valid_i,
    .tile_ready_o,
    .tile_i,
    .tile_half_i,
    .release_valid_o,
    .release_half_o,
    .start_o           (start),
    .tile_o            (tile),
    .half_o            (half),
    .forward_o         (forward),
    .weight_gradient_o (weight_gradient),
    .x_group_o         (x_group),
    .x_image_o         (x_image),
    .g_group_o         (g_group),
    .geometry_valid_o  (geometry_valid),
    .predict_busy_i    (predict_busy),
    .weights_start_o   (weights_start),
    .weights_staged_i  (weights_staged),
    .swap_o            (swap),
    .weights_taken_o   (weights_taken),
    .weights_last_o    (weights_last),
    .weights_over_o    (weights_over),
    .weights_finished_o(weights_finished),
    .list_valid_o      (list_valid),
    .list_ready_i      (list_ready),
    .list_block_o      (list_block),
    .list_word_o       (list_word),
    .list_row_o        (list_row),
    .list_column_o     (list_column),
    .pass_valid_i      (pass_valid),
    .pass_ready_o      (pass_ready),
    .pass_last_i       (pass_last),
    .pass_empty_i      (pass_empty),
    .decided_i         (decided),
    .undecided_i       (undecided),
    .pass_load_o       (pass_load),
    .pass_base_o       (pass_base),
    .drain_busy_i      (drain_busy),
    .capture_o         (capture),
    .x_valid_o         (x_valid),
    .x_many_o          (x_many),
    .x_base_o          (x_base),
    .x_row_o           (x_row),
    .x_column_o        (x_column),
    .x_word_o          (x_word),
    .g_valid_o         (g_valid),
    .g_many_o          (g_many),
    .g_base_o          (g_base),
    .g_row_o           (g_row),
    .g_column_o        (g_column),
    .g_word_o          (g_word),
    .odd_o             (odd),
    .pixel_o           (pixel),
    .pixel_first_o     (pixel_first),
    .add_o             (add),
    .add_address_o     (add_address),
    .fresh_o           (fresh),
    .initial_load_o    (initial_load),
    .initial_use_o     (initial_use),
    .job_valid_o       (job_valid),
    .job_ready_i       (job_ready),
    .job_emit_o        (job_emit),
    .job_end_o         (job_end),
    .job_half_o        (job_half),
    .job_both_o        (job_both),
    .job_sign_base_o   (job_sign_base),
    .job_quads_o       (job_quads),
    .job_dw_words_o    (job_dw_words),
    .job_dw_block_o    (job_dw_block),
    .block_done_i      (block_done),
    .emitted_i         (psum_read_address),
    .compute_cycles_o  (compute_cycles),
    .stall_cycles_o    (stall_cycles),
    .macs_o            (macs),
    .gated_o           (macs_gated)
  );

  logic [15:0] x_rows, x_columns, x_words, g_rows, g_columns, g_words;

  assign x_rows    = tile[jb_pkg::X_ROWS_LSB+:16];
  assign x_columns = tile[jb_pkg::X_COLUMNS_LSB+:16];
  assign x_words   = tile[jb_pkg::X_WORDS_LSB+:16];
  assign g_rows    = tile[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns = tile[jb_pkg::G_COLUMNS_LSB+:16];
  assign g_words   = tile[jb_pkg::G_WORDS_LSB+:16];
  assign stride2   = tile[jb_pkg::STRIDE_LSB+1];

  // ---- predictor and scheduler
  logic predict_x_valid;
  logic [15:0] predict_x_base;
  logic [17:0] predict_x_row, predict_x_column;
  logic [1:0] predict_x_word;
  logic [63:0] predict_peak;
  logic [36*OutLanes-1:0] pass_tap;
  logic [24*OutLanes-1:0] pass_lane;
  logic [1:0] pass_number;
  logic step_valid;
  logic [7:0] step;
  logic [10*Classes-1:0] step_record;
  logic sign_valid;
  logic [15:0] sign_address;
  logic [OutLanes-1:0] sign_decided;
  logic [2*OutLanes-1:0] sign_value;
  logic [575:0] x_data;
  logic [255:0] g_data;

  jb_predictor #(
    .Config(Config)
  ) u_predictor (
    .clk_i,
    .rst_ni,
    .tile_start_i      (start),
    .tile_i            (tile),
    .half_i            (half),
    .predict_busy_o    (predict_busy),
    .load_valid_i      (load_g_valid_i),
    .load_half_i       (load_g_half_i),
    .load_image_i      (load_g_image_i),
    .load_row_i        (load_g_row_i),
    .load_column_i     (load_g_column_i),
    .load_word_i       (load_g_word_i),
    .load_data_i       (load_g_data_i),
    .x_geometry_valid_i(geometry_valid),
    .x_words_columns_i (12'(x_group)),
    .x_image_i         (16'(x_image)),
    .x_valid_o         (predict_x_valid),
    .x_base_o          (predict_x_base),
    .x_row_o           (predict_x_row),
    .x_column_o        (predict_x_column),
    .x_word_o          (predict_x_word),
    .x_window_i        (x_data),
    .list_valid_i      (list_valid),
    .list_ready_o      (list_ready),
    .list_block_i      (list_block),
    .list_word_i       (list_word),
    .list_row_i        (list_row),
    .list_column_i     (list_column),
    .pass_valid_o      (pass_valid),
    .pass_ready_i      (pass_ready),
    .pass_last_o       (pass_last),
    .pass_empty_o      (pass_empty),
    .pass_number_o     (pass_number),
    .pass_tap_o        (pass_tap),
    .pass_lane_o       (pass_lane),
    .step_valid_o      (step_valid),
    .step_o            (step),
    .step_record_o     (step_record),
    .sign_valid_i      (sign_valid),
    .sign_address_i    (sign_address),
    .sign_decided_o    (sign_decided),
    .sign_value_o      (sign_value),
    .decided_o         (decided),
    .undecided_o       (undecided),
    .peak_o            (predict_peak)
  );

  // ---- feature buffers
  logic x_own;

  assign x_own = forward || weight_gradient;

  jb_feature_buffer #(
    .Depth(BankDepth)
  ) u_x_buffer (
    .clk_i,
    .load_valid_i  (load_x_valid_i),
    .load_half_i   (load_x_half_i),
    .load_image_i  (load_x_image_i),
    .load_row_i    (load_x_row_i),
    .load_column_i (load_x_column_i),
    .load_word_i   (load_x_word_i),
    .load_data_i   (load_x_data_i),
    .load_rows_i   (load_x_rows_i),
    .load_columns_i(load_x_columns_i),
    .load_words_i  (load_x_words_i),
    .read_half_i   (half),
    .rows_i        (x_rows),
    .columns_i     (x_columns),
    .words_i       (x_words),
    .row_step_i    (16'(x_group)),
    .skip_i        (stride2 && !weight_gradient),  // two rows of the output side at once: forward, predictor
    .valid_i       (x_own ? x_valid : predict_x_valid),
    .many_words_i  (x_own && x_many),
    .base_i        (x_own ? x_base : predict_x_base),
    .row_i         (x_own ? x_row : predict_x_row),
    .column_i      (x_own ? x_column : predict_x_column),
    .word_i        (x_own ? x_word : {14'd0, predict_x_word}),
    .data_o        (x_data)
  );

  jb_gradient_buffer #(
    .Depth(BankDepth)
  ) u_g_buffer (
    .clk_i,
    .load_valid_i  (load_g_valid_i),
    .load_half_i   (load_g_half_i),
    .load_image_i  (load_g_image_i),
    .load_row_i    (load_g_row_i),
    .load_column_i (load_g_column_i),
    .load_word_i   (load_g_word_i),
    .load_data_i   (load_g_data_i),
    .load_rows_i   (load_g_rows_i),
    .load_columns_i(load_g_columns_i),
    .load_words_i  (load_g_words_i),
    .read_half_i   (half),
    .rows_i        (g_rows),
    .columns_i     (g_columns),
    .words_i       (g_words),
    .valid_i       (g_valid),
    .many_words_i  (g_many),
    .base_i        (g_base),
    .row_i         (g_row),
    .column_i      (g_column),
    .word_i        (g_word),
    .data_o        (g_data)
  );

  // ---- from operands to sums
  logic [1:0] read_half, read_quad;
  logic [287:0] psum_data;

  jb_core_datapath #(
    .OutLanes (OutLanes),
    .BankDepth(BankDepth),
    .PsumDepth(PsumDepth)
  ) u_datapath (
    .clk_i,
    .rst_ni,
    .tile_i            (tile),
    .forward_i         (forward),
    .weight_gradient_i (weight_gradient),
    .x_data_i          (x_data),
    .g_data_i          (g_data),
    .odd_i             (odd),
    .pixel_i           (pixel),
    .pixel_first_i     (pixel_first),
    .w_valid_i,
    .w_ready_o,
    .w_data_i,
    .weights_start_i   (weights_start),
    .weights_staged_o  (weights_staged),
    .weights_taken_i   (weights_taken),
    .weights_last_i    (weights_last),
    .weights_over_i    (weights_over),
    .weights_finished_i(weights_finished),
    .swap_i            (swap),
    .pass_load_i       (pass_load),
    .pass_base_i       (pass_base),
    .pass_number_i     (pass_number),
    .pass_tap_i        (pass_tap),
    .pass_lane_i       (pass_lane),
    .capture_i         (capture),
    .step_valid_i      (step_valid),
    .step_i            (step),
    .step_record_i     (step_record),
    .drain_busy_o      (drain_busy),
    .add_i             (add),
    .add_address_i     (add_address),
    .fresh_i           (fresh),
    .initial_load_i    (initial_load),
    .initial_use_i     (initial_use),
    .read_half_i       (read_half),
    .read_address_i    (psum_read_address),
    .read_quad_i       (read_quad),
    .read_data_o       (psum_data)
  );

  // ---- results
  jb_core_results #(
    .OutLanes (OutLanes),
    .PsumDepth(PsumDepth)
  ) u_results (
    .clk_i,
    .rst_ni,
    .tile_i           (tile),
    .forward_i        (forward),
    .weight_gradient_i(weight_gradient),
    .job_valid_i      (job_valid),
    .job_ready_o      (job_ready),
    .job_emit_i       (job_emit),
    .job_end_i        (job_end),
    .job_half_i       (job_half),
    .job_both_i       (job_both),
    .job_sign_base_i  (job_sign_base),
    .job_quads_i      (job_quads),
    .job_dw_words_i   (job_dw_words),
    .job_dw_block_i   (job_dw_block),
    .block_done_o     (block_done),
    .compute_cycles_i (compute_cycles),
    .stall_cycles_i   (stall_cycles),
    .macs_i           (macs),
    .macs_gated_i     (macs_gated),
    .decided_i        (decided),
    .undecided_i      (undecided),
    .predict_peak_i   (predict_peak),
    .read_half_o      (read_half),
    .read_address_o   (psum_read_address),
    .read_quad_o      (read_quad),
    .read_data_i      (psum_data),
    .sign_valid_o     (sign_valid),
    .sign_address_o   (sign_address),
    .sign_decided_i   (sign_decided),
    .sign_value_i     (sign_value),
    .m_valid_i,
    .m_ready_o,
    .m_data_i,
    .o_valid_o,
    .o_ready_i,
    .o_data_o,
    .o_last_o,
    .done_valid_o,
    .done_ready_i,
    .done_peak_o,
    .done_saturated_o,
    .done_decided_o,
    .done_undecided_o,
    .done_compute_cycles_o,
    .done_stall_cycles_o,
    .done_macs_o,
    .done_macs_gated_o
  );

  logic unused;
  assign unused = ^{g_group, tile};
endmodule

`default_nettype wire
