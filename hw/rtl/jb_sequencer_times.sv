// a * b modulo 2^Bits in LUTs: for addresses of small memories, so that no DSP block is taken for them.
`default_nettype none

module jb_sequencer_times #(
  parameter int Bits = 8
) (
  input  wire logic [Bits-1:0] a_i,
  input  wire logic [Bits-1:0] b_i,
  output      logic [Bits-1:0] product_o
);
  always_comb begin
    product_o = '0;
    for (int n = 0; n < Bits; n++) begin
      if (b_i[n]) product_o = product_o + (a_i << n);
    end
  end
endmodule

`default_nettype wire
