// One element of the predicted weight gradient: the sum of x_msb * g_msb over a segment of pixels, two pixels (a, b) a cycle. Each bit of
// the two x selects one of 0, g of a, g of b and their sum, in the adder's own LUT: three additions for the four bits, the fourth adds to the
// sum so far.
`default_nettype none

module jb_predictor_lane (
  input  wire logic               clk_i,
  input  wire logic               signed_i,  // x is signed: its upper bit counts -8
  // cycle 0: bits 3 and 2 of x of both pixels, and g
  input  wire logic        [ 1:0] xa_i,
  input  wire logic        [ 1:0] xb_i,
  input  wire logic signed [10:0] ga_i,
  input  wire logic signed [10:0] gb_i,
  input  wire logic signed [10:0] both_i,    // ga_i + gb_i
  // cycle 1: bits 1 and 0, and g once more
  input  wire logic        [ 1:0] xa_late_i,
  input  wire logic        [ 1:0] xb_late_i,
  input  wire logic signed [10:0] ga_late_i,
  input  wire logic signed [10:0] gb_late_i,
  input  wire logic signed [10:0] both_late_i,
  // cycle 2
  input  wire logic               enable_i,
  input  wire logic               first_i,   // of the segment
  input  wire logic               capture_i,
  output      logic        [19:0] sum_o      // taken with capture_i
);
  logic [10:0] bit3, bit2, bit1, bit0, top;
  logic [13:0] two;
  logic [12:0] two_q;
  logic [13:0] three;
  logic [14:0] four, four_q;
  logic [19:0] sum_q;

  always_comb begin
    unique case ({xa_i[1], xb_i[1]})
      2'd0: bit3 = '0;
      2'd1: bit3 = gb_i;
      2'd2: bit3 = ga_i;
      default: bit3 = both_i;
    endcase
    unique case ({xa_i[0], xb_i[0]})
      2'd0: bit2 = '0;
      2'd1: bit2 = gb_i;
      2'd2: bit2 = ga_i;
      default: bit2 = both_i;
    endcase
    unique case ({xa_late_i[1], xb_late_i[1]})
      2'd0: bit1 = '0;
      2'd1: bit1 = gb_late_i;
      2'd2: bit1 = ga_late_i;
      default: bit1 = both_late_i;
    endcase
    unique case ({xa_late_i[0], xb_late_i[0]})
      2'd0: bit0 = '0;
      2'd1: bit0 = gb_late_i;
      2'd2: bit0 = ga_late_i;
      default: bit0 = both_late_i;
    endcase
  end

  // -bit3 = ~bit3 + 1: its 2 enter as the lowest bit and as a carry
  assign top   = bit3 ^ {11{signed_i}};
  assign two   = {top[10], top, signed_i, 1'b0} - {~{2{bit2[10]}}, ~bit2, !signed_i};
  assign three = {two_q, 1'b0} + {{3{bit1[10]}}, bit1};
  assign four  = {three, 1'b0} + {{4{bit0[10]}}, bit0};

  always_ff @(posedge clk_i) begin
    two_q  <= two[13:1];
    four_q <= four;
    if (enable_i) sum_q <= {{5{four_q[14]}}, four_q} + (first_i ? '0 : sum_q);
    if (capture_i) sum_o <= sum_q;
  end

  logic unused;
  assign unused = two[0];
endmodule

`default_nettype wire
