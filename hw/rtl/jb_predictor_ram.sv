// A memory with one write and one read port; the word read appears in the cycle after. What a read returns of a word that is
// written in the same cycle is undefined: nothing here does so.
`default_nettype none

module jb_predictor_ram #(
  parameter int Width = 72,
  parameter int Depth = 2304
) (
  input  wire logic                     clk_i,
  input  wire logic                     write_i,
  input  wire logic [$clog2(Depth)-1:0] write_address_i,
  input  wire logic [Width-1:0]         write_data_i,
  input  wire logic                     read_i,
  input  wire logic [$clog2(Depth)-1:0] read_address_i,
  output      logic [Width-1:0]         read_data_o
);
  (* ram_style = "block" *) logic [Width-1:0] memory[Depth];

  always_ff @(posedge clk_i) begin
    if (write_i) memory[write_address_i] <= write_data_i;
  end
  always_ff @(posedge clk_i) begin
    if (read_i) read_data_o <= memory[read_address_i];
  end
endmodule

`default_nettype wire
