// One multiplier with its accumulator: one DSP48E1 with all its registers. The multiplier takes A or D, and B; the sum takes P of the
// multiplier before (pc_i, the block's own wiring), C, P, or nothing, and the product or nothing.
// Operands and use_d_i in cycle 0 (A and B pass two registers, D and C one, as marked below), product in cycle 2 or 3, P a cycle later.
//
// Synthesis sees the block itself, everything else the text below; formal/fv_mac.sv proves that they are the same.
`default_nettype none

module jb_mac (
  input  wire logic        clk_i,
  input  wire logic        use_d_i,        // D, not A; taken a cycle later; stable while operands are under way
  input  wire logic [24:0] a_i,            // signed; two registers
  input  wire logic [24:0] d_i,            // signed; one register
  input  wire logic [17:0] b_i,            // signed; two registers, each with an enable
  input  wire logic        b1_enable_i,
  input  wire logic        b2_enable_i,
  input  wire logic [47:0] c_i,            // signed; one register
  input  wire logic        c_enable_i,
  input  wire logic [2:0]  add_i,          // a cycle before P takes the sum: 0 adds nothing, 1 pc_i, 2 P, 3 C
  input  wire logic        multiply_i,     // likewise: the product is added
  input  wire logic        p_enable_i,     // P takes the sum
  input  wire logic [47:0] pc_i,           // from pc_o of the multiplier before
  output      logic [47:0] p_o,
  output      logic [47:0] pc_o
);
`ifdef SYNTHESIS
  DSP48E1 #(
    .ACASCREG(2), .ADREG(0), .ALUMODEREG(0), .AREG(2), .BCASCREG(2), .BREG(2), .CARRYINREG(0), .CARRYINSELREG(0), .CREG(1),
    .DREG(1), .INMODEREG(1), .MREG(1), .OPMODEREG(1), .PREG(1), .USE_DPORT("TRUE"), .USE_MULT("MULTIPLY"), .USE_SIMD("ONE48")
  ) u_dsp (
    .CLK          (clk_i),
    .A            ({{5{a_i[24]}}, a_i}),
    .B            (b_i),
    .C            (c_i),
    .D            (d_i),
    .PCIN         (pc_i),
    .INMODE       ({2'b00, use_d_i, use_d_i, 1'b0}),
    .OPMODE       ({add_i, 1'b0, multiply_i, 1'b0, multiply_i}),
    .ALUMODE      (4'b0000),
    .CARRYIN      (1'b0),
    .CARRYINSEL   (3'b000),
    .CEA1         (1'b1),
    .CEA2         (1'b1),
    .CEAD         (1'b0),
    .CEALUMODE    (1'b0),
    .CEB1         (b1_enable_i),
    .CEB2         (b2_enable_i),
    .CEC          (c_enable_i),
    .CECARRYIN    (1'b0),
    .CECTRL       (1'b1),
    .CED          (1'b1),
    .CEINMODE     (1'b1),
    .CEM          (1'b1),
    .CEP          (p_enable_i),
    .RSTA         (1'b0),
    .RSTALLCARRYIN(1'b0),
    .RSTALUMODE   (1'b0),
    .RSTB         (1'b0),
    .RSTC         (1'b0),
    .RSTCTRL      (1'b0),
    .RSTD         (1'b0),
    .RSTINMODE    (1'b0),
    .RSTM         (1'b0),
    .RSTP         (1'b0),
    .P            (p_o),
    .PCOUT        (pc_o)
  );
`else
  logic signed [24:0] a1_q, a2_q, d_q, factor;
  logic signed [17:0] b1_q, b2_q;
  logic signed [42:0] m_q;
  logic signed [47:0] c_q, p_q, addend;
  logic [2:0] add_q;
  logic multiply_q, use_d_q;

  assign factor = use_d_q ? d_q : a2_q;

  always_comb begin
    unique case (add_q)
      3'd1: addend = $signed(pc_i);
      3'd2: addend = p_q;
      3'd3: addend = c_q;
      default: addend = '0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    use_d_q    <= use_d_i;
    a1_q       <= $signed(a_i);
    a2_q       <= a1_q;
    d_q        <= $signed(d_i);
    if (b1_enable_i) b1_q <= $signed(b_i);
    if (b2_enable_i) b2_q <= b1_q;
    m_q        <= factor * b2_q;
    if (c_enable_i) c_q <= $signed(c_i);
    add_q      <= add_i;
    multiply_q <= multiply_i;
    if (p_enable_i) p_q <= addend + (multiply_q ? 48'(m_q) : '0);
  end

  assign p_o  = p_q;
  assign pc_o = p_q;
`endif
endmodule

`default_nettype wire
