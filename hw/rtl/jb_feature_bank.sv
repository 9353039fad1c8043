// One bank of a feature buffer: one write and one read port, with registers before and after the memory (the address
// register lies outside). One RAMB36E1 for 512 words.
`default_nettype none

module jb_feature_bank #(
  parameter int Depth = 512  // words, a power of two
) (
  input  wire logic                     clk_i,
  input  wire logic                     write_i,
  input  wire logic [$clog2(Depth)-1:0] write_address_i,
  input  wire logic [63:0]              write_data_i,
  input  wire logic [$clog2(Depth)-1:0] read_address_i,
  output      logic [63:0]              read_data_o      // two cycles later
);
  (* ram_style = "block" *) logic [63:0] memory[Depth];
  logic [63:0] data_q;

  always_ff @(posedge clk_i) begin
    if (write_i) memory[write_address_i] <= write_data_i;
    data_q      <= memory[read_address_i];
    read_data_o <= data_q;
  end
endmodule

`default_nettype wire
