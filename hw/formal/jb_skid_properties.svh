// Properties of jb_skid, inside the module (k-induction). A word that is chosen freely, the one with number `chosen`, must come out
// with that number, unchanged; what is offered stands until it is taken.
(* anyconst *) logic [3:0] chosen;
logic [3:0] pushed_q, popped_q;  // words so far, modulo 16
logic [3:0] inside;
logic [Width-1:0] word_q;        // the chosen one
logic started_q;                 // after the first reset
logic chosen_inside_q;
logic stood_q;
logic [Width-1:0] stood_data_q;

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
    if (valid_i && ready_o) pushed_q <= pushed_q + 4'd1;
    if (valid_o && ready_i) popped_q <= popped_q + 4'd1;
    if (valid_i && ready_o && pushed_q == chosen) begin
      word_q          <= data_i;
      chosen_inside_q <= 1'b1;
    end
    if (valid_o && ready_i && popped_q == chosen) chosen_inside_q <= 1'b0;
    stood_q <= valid_o && !ready_i;
  end
  stood_data_q <= data_o;
  if (started_q && rst_ni) begin
    a_count : assert (inside == {3'd0, valid_q} + {3'd0, spare_valid_q});
    a_spare : assert (!spare_valid_q || valid_q);
    a_valid : assert (valid_o == (inside != '0));
    a_ready : assert (ready_o == (inside < 4'd2));
    a_place : assert (chosen_inside_q == (chosen - popped_q < inside));
    if (chosen_inside_q && chosen == popped_q) a_first : assert (data_q == word_q);
    if (chosen_inside_q && chosen != popped_q) a_second : assert (spare_q == word_q);
    if (stood_q) a_stands : assert (valid_o && data_o == stood_data_q);
    c_full : cover (inside == 4'd2);
  end
end
