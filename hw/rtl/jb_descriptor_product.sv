// Product of two unsigned numbers, one bit of the second a cycle, as fast as that one is small. What does not fit gives all ones.
`default_nettype none

module jb_descriptor_product (
  input  wire logic        clk_i,
  input  wire logic        start_i,
  input  wire logic [47:0] a_i,
  input  wire logic [15:0] b_i,
  output      logic        done_o,     // high until the next start
  output      logic [47:0] product_o
);
  logic [47:0] a_q, sum_q;
  logic [15:0] b_q;
  logic lost_q, over_q;  // a's higher bits were shifted out; the sum overflowed
  logic [48:0] sum;

  assign sum       = {1'b0, sum_q} + {1'b0, a_q};
  assign done_o    = b_q == '0;
  assign product_o = over_q ? '1 : sum_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      a_q    <= a_i;
      b_q    <= b_i;
      sum_q  <= '0;
      lost_q <= 1'b0;
      over_q <= 1'b0;
    end else if (!done_o) begin
      a_q    <= a_q << 1;
      b_q    <= b_q >> 1;
      lost_q <= lost_q || a_q[47];
      if (b_q[0]) begin
        sum_q <= sum[47:0];
        if (lost_q || sum[48]) over_q <= 1'b1;
      end
    end
  end
endmodule

`default_nettype wire
