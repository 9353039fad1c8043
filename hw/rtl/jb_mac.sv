// One multiplier with its accumulator, in the form that synthesis maps to one DSP48E1 with all its registers:
// P = A * B + (C or P), C being the sum of the multiplier before it in a chain, two cycles later.
`default_nettype none

module jb_mac (
  input  wire logic        clk_i,
  input  wire logic [24:0] a_i,           // signed
  input  wire logic [17:0] b_i,           // signed
  input  wire logic [47:0] c_i,           // signed; P of the multiplier before
  input  wire logic        c_clear_i,     // C is zero from the next cycle on
  input  wire logic        accumulate_i,  // with the product in M: add to P, not to C
  input  wire logic        enable_i,      // with the product in M: P takes the sum
  output      logic [47:0] p_o
);
  logic signed [24:0] a_q;
  logic signed [17:0] b_q;
  logic signed [42:0] m_q;
  logic signed [47:0] c_q, p_q;

  always_ff @(posedge clk_i) begin
    a_q <= $signed(a_i);
    b_q <= $signed(b_i);
    m_q <= a_q * b_q;
    if (c_clear_i) c_q <= '0;
    else c_q <= $signed(c_i);
    if (enable_i) p_q <= (accumulate_i ? p_q : c_q) + 48'(m_q);
  end

  assign p_o = p_q;
endmodule

`default_nettype wire
