// Constants of a tile: steps of the addresses in the feature buffers and in the partial sums, products made bit by bit. They are right
// from Steps + 1 cycles after start_i on, sign_o (for results alone) 16 cycles later. Addresses are modulo the size of their memory, and so
// are these.
`default_nettype none

module jb_sequencer_geometry #(
  parameter int BankBits = 8,  // of an address in a half of a bank
  parameter int PsumBits = 10,
  parameter int QuadBits = 2   // log2 of the words of dz in an output block
) (
  input  wire logic                clk_i,
  input  wire logic                start_i,       // what follows is stable from now on
  input  wire logic [1023:0]       tile_i,
  input  wire logic                forward_i,
  output      logic [BankBits-1:0] x_quarter_o,   // ceil(columns / 4): from word to word
  output      logic [BankBits-1:0] x_group_o,     // from four rows to the next
  output      logic [BankBits-1:0] x_image_o,
  output      logic [BankBits-1:0] g_quarter_o,
  output      logic [BankBits-1:0] g_group_o,
  output      logic [BankBits-1:0] g_image_o,
  output      logic [BankBits-1:0] g_block_o,     // of the tile's first output block of dz
  output      logic [PsumBits-1:0] psum_image_o,  // words of an image
  output      logic [5:0]          taps_o,
  output      logic [PsumBits:0]   dw_block_o,    // words of a block of the weight gradient
  output      logic [15:0]         sign_o         // of the tile's first block
);
  localparam int First = PsumBits > BankBits ? PsumBits : BankBits;
  localparam int Second = BankBits > 6 ? BankBits : 6;

  logic [5:0] step_q;  // 0.. First - 1: products of sizes; .. First + Second - 1: products of these; and 16 for the signs
  logic first, second, third;
  logic [3:0] place;   // of the bit
  logic [15:0] x_rows, x_columns, g_rows, g_columns, x_words, g_words, block, kernel_w;
  logic [2:0] kernel_h;
  logic [15:0] x_rows4, g_rows4, psum_rows, taps;
  logic [PsumBits-1:0] psum_columns;
  logic [PsumBits:0] dw_taps;

  assign x_rows    = tile_i[jb_pkg::X_ROWS_LSB+:16];
  assign x_columns = tile_i[jb_pkg::X_COLUMNS_LSB+:16];
  assign x_words   = tile_i[jb_pkg::X_WORDS_LSB+:16];
  assign g_rows    = tile_i[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns = tile_i[jb_pkg::G_COLUMNS_LSB+:16];
  assign g_words   = tile_i[jb_pkg::G_WORDS_LSB+:16];
  assign block     = tile_i[jb_pkg::OUT_BLOCK_LSB+:16];
  assign kernel_h  = tile_i[jb_pkg::KERNEL_H_LSB+:3];
  assign kernel_w  = 16'(tile_i[jb_pkg::KERNEL_W_LSB+:3]);

  assign x_quarter_o  = BankBits'((17'(x_columns) + 17'd3) >> 2);
  assign g_quarter_o  = BankBits'((17'(g_columns) + 17'd3) >> 2);
  assign x_rows4      = {1'b0, 15'((17'(x_rows) + 17'd3) >> 2)};
  assign g_rows4      = {1'b0, 15'((17'(g_rows) + 17'd3) >> 2)};
  assign psum_rows    = forward_i ? 16'((17'(g_rows) + 17'd1) >> 1) : x_rows;
  assign psum_columns = forward_i ? g_columns[PsumBits-1:0] : x_columns[PsumBits-1:0];
  assign taps         = 16'(taps_o);

  assign first  = step_q < 6'(First);
  assign second = !first && step_q < 6'(First + Second);
  assign third  = step_q >= 6'(First + Second) && step_q < 6'(First + Second + 16);
  assign place  = first ? 4'(6'(First - 1) - step_q) : second ? 4'(6'(First + Second - 1) - step_q)
                                                              : 4'(6'(First + Second + 15) - step_q);

  always_ff @(posedge clk_i) begin
    if (start_i) step_q <= '0;
    else if (step_q != 6'(First + Second + 16)) step_q <= step_q + 6'd1;
  end

  jb_sequencer_times #(.Bits(BankBits)) u_x_group (
    .clk_i, .clear_i(start_i), .step_i(first), .bit_i(x_words[place]), .a_i(x_quarter_o), .product_o(x_group_o)
  );
  jb_sequencer_times #(.Bits(BankBits)) u_x_image (
    .clk_i, .clear_i(start_i), .step_i(second), .bit_i(x_rows4[place]), .a_i(x_group_o), .product_o(x_image_o)
  );
  jb_sequencer_times #(.Bits(BankBits)) u_g_group (
    .clk_i, .clear_i(start_i), .step_i(first), .bit_i(g_words[place]), .a_i(g_quarter_o), .product_o(g_group_o)
  );
  jb_sequencer_times #(.Bits(BankBits)) u_g_image (
    .clk_i, .clear_i(start_i), .step_i(second), .bit_i(g_rows4[place]), .a_i(g_group_o), .product_o(g_image_o)
  );
  jb_sequencer_times #(.Bits(BankBits)) u_g_block (
    .clk_i, .clear_i(start_i), .step_i(first), .bit_i(block[place]), .a_i(g_quarter_o << QuadBits), .product_o(g_block_o)
  );
  jb_sequencer_times #(.Bits(PsumBits)) u_psum (
    .clk_i, .clear_i(start_i), .step_i(first), .bit_i(psum_rows[place]), .a_i(psum_columns), .product_o(psum_image_o)
  );
  jb_sequencer_times #(.Bits(6)) u_taps (
    .clk_i, .clear_i(start_i), .step_i(first), .bit_i(kernel_w[place]), .a_i({3'd0, kernel_h}), .product_o(taps_o)
  );
  jb_sequencer_times #(.Bits(PsumBits + 1)) u_dw (
    .clk_i, .clear_i(start_i), .step_i(second), .bit_i(taps[place]), .a_i(x_words[PsumBits:0]), .product_o(dw_taps)
  );
  jb_sequencer_times #(.Bits(16)) u_sign (
    .clk_i, .clear_i(start_i), .step_i(third), .bit_i(block[place]), .a_i(16'(dw_block_o)), .product_o(sign_o)
  );

  assign dw_block_o = dw_taps << 3;

  logic unused;
  assign unused = ^{tile_i, x_columns, g_columns};
endmodule

`default_nettype wire
