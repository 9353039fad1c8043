// The counters behind jb_registers, in distributed memory: each has its turn every 16 cycles, so that one adder serves all. Events are
// counted in a few bits until their counter's turn; a tile's figures are added when it ends. A snapshot copies all counters as of one cycle,
// the end of a round.
`default_nettype none

module jb_registers_counters (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // events of this cycle: busy, read stall, write stall; a beat read at port 0, written at port 0, read at port 1, written at port 1
  input  wire logic [ 6:0] event_i,
  // a tile's figures: stable from the pulse count_i until counting_o has fallen
  input  wire logic        count_i,
  output      logic        counting_o,
  input  wire logic        forward_i,      // macs_i are 8x8
  input  wire logic        gradient_i,     // macs_i are 8x16
  input  wire logic [31:0] compute_cycles_i,
  input  wire logic [63:0] macs_i,
  input  wire logic [47:0] macs_4x10_i,
  input  wire logic [63:0] macs_gated_i,
  input  wire logic [31:0] decided_i,
  input  wire logic [31:0] undecided_i,
  // snapshot: the request stands until it is done
  input  wire logic        snapshot_i,
  input  wire logic        clear_i,        // and start anew
  output      logic        snapshot_done_o,// a pulse
  // the copy
  output      logic        ready_o,        // low for a round after the reset
  input  wire logic [ 3:0] read_counter_i, // in the order of the registers
  input  wire logic        read_high_i,
  output      logic [31:0] read_data_o
);
  localparam int Events = 7;

  (* ram_style = "distributed" *) logic [63:0] live[16];
  (* ram_style = "distributed" *) logic [63:0] copy[16];

  // ---- rounds: slot_q chooses what is added a cycle later
  logic [3:0] slot_q, add_slot_q;
  logic round_end;
  logic copying_q, add_copying_q;  // this round's sums go to the copy
  logic fresh_q, add_fresh_q;      // this round's counters start at zero
  logic clear_q, ready_q;
  logic pending_q, counting_q;
  logic [3:0] left_q;

  assign round_end       = slot_q == '1;
  assign counting_o      = pending_q || counting_q;
  assign snapshot_done_o = ready_q && copying_q && round_end;
  assign ready_o         = ready_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slot_q     <= '0;
      copying_q  <= 1'b1;
      fresh_q    <= 1'b1;
      clear_q    <= 1'b0;
      ready_q    <= 1'b0;
      pending_q  <= 1'b0;
      counting_q <= 1'b0;
    end else begin
      slot_q <= slot_q + 4'd1;
      if (round_end) begin
        copying_q <= snapshot_i && !snapshot_done_o && !counting_o;
        clear_q   <= clear_i;
        fresh_q   <= ready_q && copying_q && clear_q;
        ready_q   <= 1'b1;
      end
      // A tile's figures take the sixteen turns that come, but never with a snapshot between them.
      if (count_i) pending_q <= 1'b1;
      if (pending_q && !copying_q && !(snapshot_i && round_end)) begin
        pending_q  <= 1'b0;
        counting_q <= 1'b1;
      end else if (left_q == '1) begin
        counting_q <= 1'b0;
      end
    end
    left_q        <= counting_q ? left_q + 4'd1 : '0;
    add_slot_q    <= slot_q;
    add_copying_q <= copying_q;
    add_fresh_q   <= fresh_q;
  end

  // ---- events of a round
  logic [4:0] event_q[Events], events_q[Events];

  always_ff @(posedge clk_i) begin
    for (int e = 0; e < Events; e++) begin
      if (!rst_ni) begin
        event_q[e]  <= '0;
        events_q[e] <= '0;
      end else if (round_end) begin
        event_q[e]  <= {4'd0, event_i[e]};
        events_q[e] <= event_q[e];
      end else begin
        event_q[e] <= event_q[e] + 5'(event_i[e]);
      end
    end
  end

  // ---- the turns
  logic [63:0] value, value_q, sum, word;
  logic turn;  // there is something to add

  always_comb begin
    turn  = 1'b1;
    value = '0;
    unique case (slot_q)
      4'd0:    value[4:0] = events_q[0];
      4'd1:    {turn, value[31:0]} = {counting_q, compute_cycles_i};
      4'd2:    value[4:0] = events_q[1];
      4'd3:    value[4:0] = events_q[2];
      4'd4:    {turn, value} = {counting_q && forward_i, macs_i};
      4'd5:    {turn, value} = {counting_q && gradient_i, macs_i};
      4'd6:    {turn, value[47:0]} = {counting_q, macs_4x10_i};
      4'd7:    {turn, value} = {counting_q, macs_gated_i};
      4'd8:    {turn, value[31:0]} = {counting_q, decided_i};
      4'd9:    {turn, value[31:0]} = {counting_q, undecided_i};
      4'd10:   value[7:3] = events_q[3];
      4'd11:   value[7:3] = events_q[4];
      4'd12:   value[7:3] = events_q[5];
      4'd13:   value[7:3] = events_q[6];
      default: ;
    endcase
  end

  assign sum  = value_q + (add_fresh_q ? '0 : live[add_slot_q]);
  assign word = copy[read_counter_i];
  assign read_data_o = read_high_i ? word[63:32] : word[31:0];

  always_ff @(posedge clk_i) begin
    value_q <= turn ? value : '0;
    live[add_slot_q] <= sum;
    if (add_copying_q) copy[add_slot_q] <= sum;
  end
endmodule

`default_nettype wire
