// Properties of jb_fifo, inside the module (k-induction). A word that is chosen freely by its number must come out with that
// number, unchanged; the FIFO is never emptier than empty or fuller than full; what is offered stands until it is taken.
(* anyconst *) logic [AddressBits+1:0] chosen;
logic [AddressBits+1:0] pushed_q, popped_q;  // words so far
logic [AddressBits+1:0] inside;
logic [Width-1:0] word_q;                    // the chosen one
logic started_q, chosen_inside_q, stood_q;
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
    if (push) pushed_q <= pushed_q + 1'b1;
    if (pop) popped_q <= popped_q + 1'b1;
    if (push && pushed_q == chosen) begin
      word_q          <= data_i;
      chosen_inside_q <= 1'b1;
    end
    if (pop && popped_q == chosen) chosen_inside_q <= 1'b0;
    stood_q <= valid_o && !ready_i;
  end
  stood_data_q <= data_o;
  if (started_q && rst_ni) begin
    a_count : assert ({1'b0, count_q} == inside);
    a_limit : assert ({1'b0, count_q} <= (AddressBits + 2)'(Depth));
    a_write : assert (write_q == pushed_q[AddressBits-1:0]);
    a_read : assert (read_q == popped_q[AddressBits-1:0]);
    a_place : assert (chosen_inside_q == (chosen - popped_q < inside));
    if (chosen_inside_q) a_word : assert (memory[chosen[AddressBits-1:0]] == word_q);
    if (chosen_inside_q && chosen == popped_q) a_out : assert (data_o == word_q);
    if (stood_q) a_stands : assert (valid_o && data_o == stood_data_q);
    c_full : cover (!ready_o);
  end
end
