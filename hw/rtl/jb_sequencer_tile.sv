// The tile at work, and when the next one may take its place: when the sequencer is idle, the predictor is done, and no weight
// gradient that still leaves the partial sums is in its way. tile_ready_o does not rise in the first cycle of an offer, in which
// what after_weights_q says of the tile on offer is worked out. All outputs about the tile are registers, stable from take_o + 1 on.
`default_nettype none

module jb_sequencer_tile (
  input  wire logic          clk_i,
  // tiles
  input  wire logic          tile_valid_i,
  output      logic          tile_ready_o,
  input  wire logic [1023:0] tile_i,
  input  wire logic          tile_half_i,
  // whether one may be taken
  input  wire logic          idle_i,             // no tile is at work, nor its predictor
  input  wire logic          weight_output_i,    // a weight gradient in both halves of the partial sums is leaving
  // the tile at work
  output      logic          take_o,             // pulse: what follows changes with the next edge
  output      logic [1023:0] tile_o,
  output      logic          half_o,             // of the feature buffers
  output      logic          forward_o,
  output      logic          input_gradient_o,
  output      logic          weight_gradient_o,
  output      logic          predict_only_o,
  output      logic          phases_o            // an input gradient with stride 2: by the parities of its taps
);
  logic [7:0] operation;  // of the tile on offer
  logic [15:0] next_block_q;
  logic after_weights_q, seen_q;

  assign operation = tile_i[jb_pkg::OPERATION_LSB+:8];

  // A weight gradient may begin while the one before leaves, unless its lists overwrite the signs that leave.
  always_ff @(posedge clk_i) begin
    next_block_q    <= tile_o[jb_pkg::OUT_BLOCK_LSB+:16] + tile_o[jb_pkg::OUT_BLOCKS_LSB+:16];
    after_weights_q <= operation == jb_pkg::OP_WEIGHT_GRADIENT && tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_FIRST]
                       && (!tile_o[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_SELECTIVE]
                           || (tile_i[jb_pkg::X_WORDS_LSB+:16] == tile_o[jb_pkg::X_WORDS_LSB+:16]
                               && tile_i[jb_pkg::KERNEL_H_LSB+:8] == tile_o[jb_pkg::KERNEL_H_LSB+:8]
                               && tile_i[jb_pkg::KERNEL_W_LSB+:8] == tile_o[jb_pkg::KERNEL_W_LSB+:8]
                               && tile_i[jb_pkg::OUT_BLOCK_LSB+:16] == next_block_q));
    seen_q          <= tile_valid_i && !take_o;  // so after_weights_q belongs to the tile that is offered
  end

  assign tile_ready_o = idle_i && seen_q && (!weight_output_i || after_weights_q);
  assign take_o       = tile_valid_i && tile_ready_o;

  always_ff @(posedge clk_i) begin
    if (take_o) begin
      tile_o            <= tile_i;
      half_o            <= tile_half_i;
      forward_o         <= operation == jb_pkg::OP_FORWARD;
      input_gradient_o  <= operation == jb_pkg::OP_INPUT_GRADIENT;
      weight_gradient_o <= operation == jb_pkg::OP_WEIGHT_GRADIENT;
      predict_only_o    <= operation == jb_pkg::OP_PREDICT;
      phases_o          <= operation == jb_pkg::OP_INPUT_GRADIENT && tile_i[jb_pkg::STRIDE_LSB+1];
    end
  end
endmodule

`default_nettype wire
