// Results of the core: jobs of the sequencer, with what the output path must know of their tile, and the tile's numbers, which go with its
// last job and come out behind its last result.
`default_nettype none

module jb_core_results #(
  parameter int OutLanes  = 16,
  parameter int PsumDepth = 1024
) (
  input  wire logic                         clk_i,
  input  wire logic                         rst_ni,
  // the tile
  input  wire logic [1023:0]                tile_i,
  input  wire logic                         forward_i,
  input  wire logic                         weight_gradient_i,
  // jobs (jb_sequencer)
  input  wire logic                         job_valid_i,
  output      logic                         job_ready_o,
  input  wire logic                         job_emit_i,
  input  wire logic                         job_end_i,
  input  wire logic                         job_half_i,
  input  wire logic                         job_both_i,
  input  wire logic [15:0]                  job_sign_base_i,
  input  wire logic [2:0]                   job_quads_i,
  input  wire logic [15:0]                  job_dw_words_i,
  input  wire logic [15:0]                  job_dw_block_i,
  output      logic                         block_done_o,
  // the tile's numbers, with its last job
  input  wire logic [31:0]                  compute_cycles_i,
  input  wire logic [31:0]                  stall_cycles_i,
  input  wire logic [63:0]                  macs_i,
  input  wire logic [63:0]                  macs_gated_i,
  input  wire logic [31:0]                  decided_i,
  input  wire logic [31:0]                  undecided_i,
  input  wire logic [63:0]                  predict_peak_i,
  // partial sums, and the signs that were predicted
  output      logic [1:0]                   read_half_o,
  output      logic [$clog2(PsumDepth)-1:0] read_address_o,
  output      logic [1:0]                   read_quad_o,
  input  wire logic [287:0]                 read_data_i,
  output      logic                         sign_valid_o,
  output      logic [15:0]                  sign_address_o,
  input  wire logic [OutLanes-1:0]          sign_decided_i,
  input  wire logic [2*OutLanes-1:0]        sign_value_i,
  // masks, results, and the tile's end
  input  wire logic                         m_valid_i,
  output      logic                         m_ready_o,
  input  wire logic [63:0]                  m_data_i,
  output      logic                         o_valid_o,
  input  wire logic                         o_ready_i,
  output      logic [63:0]                  o_data_o,
  output      logic                         o_last_o,
  output      logic                         done_valid_o,
  input  wire logic                         done_ready_i,
  output      logic [63:0]                  done_peak_o,
  output      logic [31:0]                  done_saturated_o,
  output      logic [31:0]                  done_decided_o,
  output      logic [31:0]                  done_undecided_o,
  output      logic [31:0]                  done_compute_cycles_o,
  output      logic [31:0]                  done_stall_cycles_o,
  output      logic [63:0]                  done_macs_o,
  output      logic [63:0]                  done_macs_gated_o
);
  localparam int RecordBits = 293;

  logic [15:0] flags, x_rows, x_columns, g_rows, g_columns;
  logic selective;

  assign flags     = tile_i[jb_pkg::FLAGS_LSB+:16];
  assign x_rows    = tile_i[jb_pkg::X_ROWS_LSB+:16];
  assign x_columns = tile_i[jb_pkg::X_COLUMNS_LSB+:16];
  assign g_rows    = tile_i[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns = tile_i[jb_pkg::G_COLUMNS_LSB+:16];
  assign selective = weight_gradient_i && flags[jb_pkg::FLAG_SELECTIVE];

  logic [RecordBits-1:0] record, done_record;
  logic [47:0] done_peak;
  logic [35:0] done_predicted;
  logic done_selective, output_busy_unused;

  // The peak of a selective tile is the predictor's.
  assign record = {
    selective && job_emit_i,
    predict_peak_i[35:0],
    selective && job_emit_i ? undecided_i : 32'd0,
    selective && job_emit_i ? decided_i : 32'd0,
    selective ? macs_gated_i : 64'd0,
    macs_i,
    stall_cycles_i,
    compute_cycles_i
  };

  assign {done_selective, done_predicted, done_undecided_o, done_decided_o, done_macs_gated_o, done_macs_o,
          done_stall_cycles_o, done_compute_cycles_o} = done_record;
  assign done_peak_o = done_selective ? {28'd0, done_predicted} : {16'd0, done_peak};

  jb_output #(
    .OutLanes  (OutLanes),
    .PsumDepth (PsumDepth),
    .RecordBits(RecordBits)
  ) u_output (
    .clk_i,
    .rst_ni,
    .job_valid_i,
    .job_ready_o,
    .job_emit_i,
    .job_end_i,
    .job_half_i,
    .job_both_i,
    .job_packed_i    (forward_i),
    .job_weight_i    (weight_gradient_i),
    .job_selective_i (selective),
    .job_raw_i       (flags[jb_pkg::FLAG_RAW]),
    .job_relu_i      (flags[jb_pkg::FLAG_RELU]),
    .job_mask_i      (flags[jb_pkg::FLAG_MASK]),
    .job_mask_below_i(tile_i[jb_pkg::MASK_BELOW_LSB+:16]),
    .job_rounding_i  (tile_i[jb_pkg::ROUNDING_LSB+:3]),
    .job_shift_i     (tile_i[jb_pkg::SHIFT_LSB+:6]),
    .job_images_i    (weight_gradient_i ? 16'd1 : tile_i[jb_pkg::IMAGES_LSB+:16]),
    .job_rows_i      (weight_gradient_i ? 16'd1 : forward_i ? g_rows : x_rows),
    .job_columns_i   (weight_gradient_i ? job_dw_words_i : forward_i ? g_columns : x_columns),
    .job_last_words_i(job_dw_block_i),
    .job_sign_base_i,
    .job_quads_i,
    .job_record_i    (record),
    .busy_o          (output_busy_unused),
    .block_done_o,
    .read_half_o,
    .read_address_o,
    .read_quad_o,
    .read_data_i,
    .sign_valid_o,
    .sign_address_o,
    .sign_decided_i,
    .sign_value_i,
    .m_valid_i,
    .m_ready_o,
    .m_data_i,
    .o_valid_o,
    .o_ready_i,
    .o_data_o,
    .o_last_o,
    .done_valid_o,
    .done_ready_i,
    .done_peak_o     (done_peak),
    .done_saturated_o,
    .done_record_o   (done_record)
  );

  logic unused;
  assign unused = ^{output_busy_unused, tile_i, flags, predict_peak_i};
endmodule

`default_nettype wire
