// Undecided elements of one class (four channels of dz), and the step of a pass: which of them the multiplier at hand takes.
// There are 72 values of x in a window (3 x 3 positions of 8 channels); each has four flags here, one memory per position, for two
// windows. A step offers one channel of each position, its candidates; the multiplier takes a channel of dz of one of them:
// the first of its home candidates that have two flags or more, else of the others with three or more, else of its home's with any,
// else of the others with any.
`default_nettype none

module jb_scheduler_class (
  input  wire logic         clk_i,
  // flags of a value of x; not in a step
  input  wire logic         write_i,
  input  wire logic         write_window_i,
  input  wire logic [3:0]   write_position_i,
  input  wire logic [2:0]   write_channel_i,
  input  wire logic [3:0]   write_flags_i,
  // a step: one multiplier
  input  wire logic         step_i,
  input  wire logic         window_i,
  input  wire logic [26:0]  channel_i,   // per position: of its candidate
  input  wire logic [8:0]   home_i,      // which candidates are home
  input  wire logic [8:0]   other_i,     // which are not
  input  wire logic [26:0]  place_i,     // per position: number of the candidate
  output      logic         used_o,      // with step_i: there was one
  output      logic [9:0]   record_o,    // a cycle after step_i: row, column, channel, lane, used
  // the last 48 steps, the first one lowest
  output      logic [143:0] tap_o,
  output      logic [95:0]  lane_o
);
  logic [3:0] flags[9];
  logic [8:0] some, two, three, home_two, other_three, home_some, pick, chosen;
  logic [3:0] here, first, left;
  logic [2:0] channel, place;
  logic [1:0] row, column, lane;

  for (genvar p = 0; p < 9; p++) begin : g_position
    (* ram_style = "distributed" *) logic [3:0] memory[16];
    logic [3:0] address;

    assign address  = step_i ? {window_i, channel_i[3*p+:3]} : {write_window_i, write_channel_i};
    assign flags[p] = memory[{window_i, channel_i[3*p+:3]}];

    always_ff @(posedge clk_i) begin
      if (step_i ? chosen[p] : write_i && write_position_i == 4'(p)) memory[address] <= step_i ? left : write_flags_i;
    end

    assign some[p]  = flags[p] != '0;
    assign two[p]   = (flags[p] & (flags[p] - 4'd1)) != '0;
    assign three[p] = (flags[p][0] && flags[p][1] && (flags[p][2] || flags[p][3]))
                      || (flags[p][2] && flags[p][3] && (flags[p][0] || flags[p][1]));
  end

  assign home_two    = home_i & two;
  assign other_three = other_i & three;
  assign home_some   = home_i & some;

  always_comb begin
    if (home_two != '0) pick = home_two;
    else if (other_three != '0) pick = other_three;
    else if (home_some != '0) pick = home_some;
    else pick = other_i & some;
  end

  assign chosen = pick & -pick;
  assign used_o = pick != '0;

  always_comb begin
    here    = '0;
    channel = '0;
    place   = '0;
    row     = '0;
    column  = '0;
    for (int p = 0; p < 9; p++) begin
      if (chosen[p]) begin
        here    = here | flags[p];
        channel = channel | channel_i[3*p+:3];
        place   = place | place_i[3*p+:3];
        row     = row | 2'(p / 3);
        column  = column | 2'(p % 3);
      end
    end
  end

  assign first = here & -here;
  assign left  = here & ~first;
  assign lane  = {first[3] || first[2], first[3] || first[1]};

  always_ff @(posedge clk_i) begin
    record_o <= {row, column, channel, lane, used_o};
    if (step_i) begin
      tap_o  <= {place, tap_o[143:3]};
      lane_o <= {lane, lane_o[95:2]};
    end
  end
endmodule

`default_nettype wire
