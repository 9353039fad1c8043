// The multiplier of the array beside itself as synthesis sees it (jb_mac_cells: the same file, a DSP48E1, whose text is Yosys' model of it).
// Until `known` all registers take values, since only the block's own start at zero; from then on both must agree, whatever the inputs.
`default_nettype none

module fv_mac (
  input wire logic        clk_i,
  input wire logic        use_d_i,
  input wire logic [24:0] a_i,
  input wire logic [24:0] d_i,
  input wire logic [17:0] b_i,
  input wire logic        b1_enable_i,
  input wire logic        b2_enable_i,
  input wire logic [47:0] c_i,
  input wire logic        c_enable_i,
  input wire logic [1:0]  add_i,
  input wire logic        multiply_i,
  input wire logic        p_enable_i,
  input wire logic [47:0] pc_i
);
  localparam int Known = 5;

  logic [3:0] cycle_q = '0;
  logic settled, b1_enable, b2_enable, c_enable, p_enable;
  logic [2:0] add;
  logic [47:0] p, pc, p_dsp, pc_dsp;

  // Until then every register takes what is before it, and P nothing of its own.
  assign settled   = cycle_q >= 4'(Known);
  assign b1_enable = b1_enable_i || !settled;
  assign b2_enable = b2_enable_i || !settled;
  assign c_enable  = c_enable_i || !settled;
  assign p_enable  = p_enable_i || !settled;
  assign add       = add_i == 2'd2 && !settled ? 3'd0 : {1'b0, add_i};

  always_ff @(posedge clk_i) begin
    if (cycle_q != '1) cycle_q <= cycle_q + 4'd1;
  end

  jb_mac u_text (
    .clk_i, .use_d_i, .a_i, .d_i, .b_i, .b1_enable_i(b1_enable), .b2_enable_i(b2_enable), .c_i, .c_enable_i(c_enable), .add_i(add),
    .multiply_i, .p_enable_i(p_enable), .pc_i, .p_o(p), .pc_o(pc)
  );
  jb_mac_cells u_block (
    .clk_i, .use_d_i, .a_i, .d_i, .b_i, .b1_enable_i(b1_enable), .b2_enable_i(b2_enable), .c_i, .c_enable_i(c_enable), .add_i(add),
    .multiply_i, .p_enable_i(p_enable), .pc_i, .p_o(p_dsp), .pc_o(pc_dsp)
  );

  always_ff @(posedge clk_i) begin
    if (settled) begin
      assert (p == p_dsp);
      assert (pc == pc_dsp);
    end
  end
endmodule

`default_nettype wire
