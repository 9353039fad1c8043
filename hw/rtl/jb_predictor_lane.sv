// One element of the predicted weight gradient: the sum of x_msb * g_msb over pixels, in two radix-4 halves. A digit of x selects 0, g,
// 2g or 3g; the upper digit of a signed x is -2..1, which the tables (upper_double_i, upper_triple_i) take into account. Sums run on
// modulo 2^20 (4 * upper + lower) and are never cleared within a tile: what a segment of pixels adds is the difference of two captures.
`default_nettype none

module jb_predictor_lane (
  input  wire logic               clk_i,
  input  wire logic               clear_i,
  input  wire logic               enable_i,
  input  wire logic               capture_i,
  input  wire logic        [ 3:0] x_i,             // two digits
  input  wire logic signed [11:0] single_i,        // g
  input  wire logic signed [11:0] triple_i,        // 3g
  input  wire logic signed [11:0] upper_double_i,  // 2g, or -2g for signed x
  input  wire logic signed [11:0] upper_triple_i,  // 3g, or -g for signed x
  output      logic        [17:0] upper_o,
  output      logic        [19:0] lower_o
);
  logic [17:0] upper_q, upper_addend;
  logic [19:0] lower_q, lower_addend;

  always_comb begin
    unique case (x_i[3:2])
      2'd0: upper_addend = '0;
      2'd1: upper_addend = 18'(single_i);
      2'd2: upper_addend = 18'(upper_double_i);
      default: upper_addend = 18'(upper_triple_i);
    endcase
    unique case (x_i[1:0])
      2'd0: lower_addend = '0;
      2'd1: lower_addend = 20'(single_i);
      2'd2: lower_addend = 20'(single_i) << 1;
      default: lower_addend = 20'(triple_i);
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (clear_i) begin
      upper_q <= '0;
      lower_q <= '0;
    end else if (enable_i) begin
      upper_q <= upper_q + upper_addend;
      lower_q <= lower_q + lower_addend;
    end
    if (capture_i) begin
      upper_o <= upper_q;
      lower_o <= lower_q;
    end
  end
endmodule

`default_nettype wire
