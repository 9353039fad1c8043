// One half of the partial sums of a lane: one write and one read port, registers before (outside) and after the memory.
// One RAMB36E1 for 512 words of 72 bits.
`default_nettype none

module jb_psum_bank #(
  parameter int Depth = 512  // words, a power of two
) (
  input  wire logic                     clk_i,
  input  wire logic                     write_i,
  input  wire logic [$clog2(Depth)-1:0] write_address_i,
  input  wire logic [71:0]              write_data_i,
  input  wire logic [$clog2(Depth)-1:0] read_address_i,
  output      logic [71:0]              read_data_o      // two cycles after the address
);
  (* ram_style = "block" *) logic [71:0] memory[Depth];
  logic [71:0] data_q;

  always_ff @(posedge clk_i) begin
    if (write_i) memory[write_address_i] <= write_data_i;
    data_q      <= memory[read_address_i];
    read_data_o <= data_q;
  end
endmodule

`default_nettype wire
