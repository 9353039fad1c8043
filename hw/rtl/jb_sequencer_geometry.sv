// Constants of a tile: steps of the addresses in the feature buffers and in the partial sums. They are right five cycles after
// the tile has appeared. Addresses are modulo the size of their memory, and so are these.
`default_nettype none

module jb_sequencer_geometry #(
  parameter int BankBits = 8,  // of an address in a half of a bank
  parameter int PsumBits = 10
) (
  input  wire logic                clk_i,
  input  wire logic                forward_i,
  input  wire logic [15:0]         x_rows_i,
  input  wire logic [15:0]         x_columns_i,
  input  wire logic [15:0]         x_words_i,
  input  wire logic [15:0]         g_rows_i,
  input  wire logic [15:0]         g_columns_i,
  input  wire logic [15:0]         g_words_i,
  input  wire logic [2:0]          kernel_h_i,
  input  wire logic [2:0]          kernel_w_i,
  output      logic [BankBits-1:0] x_quarter_o,  // ceil(columns / 4): from word to word
  output      logic [BankBits-1:0] x_group_o,    // from four rows to the next
  output      logic [BankBits-1:0] x_image_o,
  output      logic [BankBits-1:0] g_quarter_o,
  output      logic [BankBits-1:0] g_group_o,
  output      logic [BankBits-1:0] g_image_o,
  output      logic [PsumBits-1:0] psum_image_o,  // words of an image
  output      logic [5:0]          taps_o,
  output      logic [PsumBits:0]   dw_block_o     // words of a block of the weight gradient
);
  logic [BankBits-1:0] x_rows4, g_rows4, x_group, x_image, g_group, g_image;
  logic [PsumBits-1:0] psum_rows_q, psum_columns_q, psum_image;
  logic [PsumBits:0] dw_taps;
  logic [5:0] taps;

  assign x_quarter_o = BankBits'((17'(x_columns_i) + 17'd3) >> 2);
  assign g_quarter_o = BankBits'((17'(g_columns_i) + 17'd3) >> 2);
  assign x_rows4     = BankBits'((17'(x_rows_i) + 17'd3) >> 2);
  assign g_rows4     = BankBits'((17'(g_rows_i) + 17'd3) >> 2);

  jb_sequencer_times #(.Bits(BankBits)) u_x_group (.a_i(x_quarter_o), .b_i(x_words_i[BankBits-1:0]), .product_o(x_group));
  jb_sequencer_times #(.Bits(BankBits)) u_x_image (.a_i(x_group_o), .b_i(x_rows4), .product_o(x_image));
  jb_sequencer_times #(.Bits(BankBits)) u_g_group (.a_i(g_quarter_o), .b_i(g_words_i[BankBits-1:0]), .product_o(g_group));
  jb_sequencer_times #(.Bits(BankBits)) u_g_image (.a_i(g_group_o), .b_i(g_rows4), .product_o(g_image));
  jb_sequencer_times #(.Bits(PsumBits)) u_psum (.a_i(psum_columns_q), .b_i(psum_rows_q), .product_o(psum_image));
  jb_sequencer_times #(.Bits(6)) u_taps (.a_i({3'd0, kernel_h_i}), .b_i({3'd0, kernel_w_i}), .product_o(taps));
  jb_sequencer_times #(.Bits(PsumBits + 1)) u_dw (
    .a_i({{(PsumBits - 5) {1'b0}}, taps_o}), .b_i(x_words_i[PsumBits:0]), .product_o(dw_taps)
  );

  always_ff @(posedge clk_i) begin
    psum_rows_q    <= forward_i ? PsumBits'((17'(g_rows_i) + 17'd1) >> 1) : x_rows_i[PsumBits-1:0];
    psum_columns_q <= forward_i ? g_columns_i[PsumBits-1:0] : x_columns_i[PsumBits-1:0];
    x_group_o      <= x_group;
    x_image_o      <= x_image;
    g_group_o      <= g_group;
    g_image_o      <= g_image;
    psum_image_o   <= psum_image;
    taps_o         <= taps;
    dw_block_o     <= dw_taps << 3;
  end

  logic unused;
  assign unused = ^{x_rows_i, g_rows_i, x_words_i, g_words_i, x_columns_i, g_columns_i};
endmodule

`default_nettype wire
