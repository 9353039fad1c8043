// Properties of jb_dma_walk, inside the module (k-induction): every burst is 1 to 16 beats, aligned, inside one 4 KB page; the
// bursts of a chunk follow one another and end exactly where the chunk ends; what is offered stands until it is taken.
logic started_q, stood_q;
logic [39:0] stood_bus_q;
logic [28:0] end_q;       // word behind the current chunk
logic [28:0] out_end_q;   // word behind the chunk to which the burst at the output belongs

initial started_q = 1'b0;

always_ff @(posedge clk_i) begin
  started_q <= 1'b1;
  if (!started_q) assume (!rst_ni);
  if (valid_i) begin
    assume (blocks_i != '0 && images_i != '0 && rows_i != '0 && chunks_i != '0 && beats_i != '0 && last_beats_i != '0);
  end
  stood_q     <= rst_ni && valid_o && !ready_i;
  stood_bus_q <= {address_o, beats_o, upper_o, lower_o, last_o};

  if (valid_i && ready_o) end_q <= address_i[31:3] + (blocks_i == 16'd1 ? last_beats_i : beats_i);
  else if (step && chunk_end) end_q <= next_base[31:3] + (next_is_last_block ? last_beats_q : beats_q);
  if (step) out_end_q <= end_q;

  if (started_q && rst_ni) begin
    if (busy_q) begin
      a_left : assert (left_q != '1);
      a_counts : assert (beats_q != '0 && last_beats_q != '0);
      a_end : assert (address_q[31:3] + ~left_q == end_q);
    end
    if (valid_o) begin
      a_length : assert (beats_o >= 5'd1 && beats_o <= 5'd16);
      a_aligned : assert (address_o[2:0] == '0);
      a_boundary : assert ({1'b0, address_o[11:3]} + {5'd0, beats_o} <= 10'd512);
      // No beat beyond the chunk: the distance to its end covers the burst.
      a_inside : assert (out_end_q - address_o[31:3] >= {24'd0, beats_o});
      if (last_o) a_exact : assert (out_end_q - address_o[31:3] == {24'd0, beats_o});
      a_last : assert (!(last_o && busy_q) || ready_o == 1'b0);
    end
    if (stood_q) a_stands : assert (valid_o && stood_bus_q == {address_o, beats_o, upper_o, lower_o, last_o});
    c_long : cover (valid_o && last_o && beats_o == 5'd3);
  end
end
