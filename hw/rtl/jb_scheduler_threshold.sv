// The limit of the sign predictor, tau - 1 with tau = max(1, (threshold_q12 * peak) >> 12), one bit of the threshold per cycle.
`default_nettype none

module jb_scheduler_threshold (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        start_i,
  input  wire logic [15:0] threshold_i,  // taken with start_i
  input  wire logic [35:0] peak_i,       // steady until valid_o
  output      logic        valid_o,
  output      logic [35:0] limit_o
);
  logic [51:0] product_q;
  logic [15:0] bits_q;
  logic [4:0] count_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      valid_o <= 1'b0;
    end else if (start_i) begin
      product_q <= '0;
      bits_q    <= threshold_i;
      count_q   <= 5'd17;
      valid_o   <= 1'b0;
    end else if (count_q > 5'd1) begin
      product_q <= (product_q << 1) + (bits_q[15] ? 52'(peak_i) : '0);
      bits_q    <= bits_q << 1;
      count_q   <= count_q - 5'd1;
    end else if (count_q == 5'd1) begin
      count_q <= '0;
      valid_o <= 1'b1;
      if (product_q[51:48] != '0) limit_o <= '1;  // nothing is as large
      else if (product_q[47:12] == '0) limit_o <= '0;
      else limit_o <= product_q[47:12] - 36'd1;
    end
  end
endmodule

`default_nettype wire
