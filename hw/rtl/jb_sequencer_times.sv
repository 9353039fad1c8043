// a * b modulo 2^Bits, a bit of b per step, the highest first: for addresses of small memories, so that no DSP block is taken for them.
`default_nettype none

module jb_sequencer_times #(
  parameter int Bits = 8
) (
  input  wire logic            clk_i,
  input  wire logic            clear_i,
  input  wire logic            step_i,
  input  wire logic            bit_i,     // of b
  input  wire logic [Bits-1:0] a_i,
  output      logic [Bits-1:0] product_o
);
  always_ff @(posedge clk_i) begin
    if (clear_i) product_o <= '0;
    else if (step_i) product_o <= {product_o[Bits-2:0], 1'b0} + (bit_i ? a_i : '0);
  end
endmodule

`default_nettype wire
