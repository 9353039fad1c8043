// jb_fifo_bram: order, count and standing offers, seen from outside.
`default_nettype none

module fv_fifo_bram (
  input wire logic       clk_i,
  input wire logic       rst_ni,
  input wire logic       valid_i,
  input wire logic [1:0] data_i,
  input wire logic       ready_i
);
  localparam int Depth = 4;
  logic ready, valid, started_q, stood_q, chosen_inside_q;
  logic [1:0] data, stood_data_q, word_q;
  logic [4:0] pushed_q, popped_q, inside;
  (* anyconst *) logic [4:0] chosen;

  jb_fifo_bram #(
    .Width(2),
    .Depth(Depth)
  ) u_fifo (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o(ready),
    .data_i,
    .valid_o(valid),
    .ready_i,
    .data_o (data)
  );

  initial started_q = 1'b0;
  assign inside = pushed_q - popped_q;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) assume (!rst_ni);
    if (!rst_ni) begin
      pushed_q        <= '0;
      popped_q        <= '0;
      chosen_inside_q <= 1'b0;
      stood_q         <= 1'b0;
    end else begin
      if (valid_i && ready) pushed_q <= pushed_q + 5'd1;
      if (valid && ready_i) popped_q <= popped_q + 5'd1;
      if (valid_i && ready && pushed_q == chosen) begin
        word_q          <= data_i;
        chosen_inside_q <= 1'b1;
      end
      if (valid && ready_i && popped_q == chosen) chosen_inside_q <= 1'b0;
      stood_q <= valid && !ready_i;
    end
    stood_data_q <= data;
    if (started_q && rst_ni) begin
      a_limit : assert (inside <= 5'(Depth + 4));
      a_empty : assert (!valid || inside != '0);
      if (valid && popped_q == chosen) a_order : assert (chosen_inside_q && data == word_q);
      if (stood_q) a_stands : assert (valid && data == stood_data_q);
      c_full : cover (inside == 5'(Depth + 4));
    end
  end
endmodule

`default_nettype wire
