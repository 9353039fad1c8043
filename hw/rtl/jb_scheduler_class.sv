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
  output      logic [9:0]   record_o,    // two cycles after step_i: row, column, channel, lane, used
  // the last 48 steps, the first one lowest; two cycles after the last
  output      logic [143:0] tap_o,
  output      logic [95:0]  lane_o
);
  // ---- a step: flags, and which position is taken
  logic [3:0] flags[9], rest[9];  // rest: without the first
  logic [8:0] some, home_two, other_three, home_some, other_some, chosen;
  logic [8:0] before_home_two, before_other_three, before_home_some, before_other_some;  // one of a lower position

  for (genvar p = 0; p < 9; p++) begin : g_position
    (* ram_style = "distributed" *) logic [3:0] memory[16];
    logic [3:0] address;
    logic two, three;

    assign address  = step_i ? {window_i, channel_i[3*p+:3]} : {write_window_i, write_channel_i};
    assign flags[p] = memory[{window_i, channel_i[3*p+:3]}];
    assign rest[p]  = {flags[p][3] && flags[p][2:0] != '0, flags[p][2] && flags[p][1:0] != '0, flags[p][1] && flags[p][0], 1'b0};

    always_ff @(posedge clk_i) begin
      if (step_i ? chosen[p] : write_i && write_position_i == 4'(p)) memory[address] <= step_i ? rest[p] : write_flags_i;
    end

    assign some[p]        = flags[p] != '0;
    assign two            = rest[p] != '0;
    assign three          = (flags[p][0] && flags[p][1] && (flags[p][2] || flags[p][3]))
                            || (flags[p][2] && flags[p][3] && (flags[p][0] || flags[p][1]));
    assign home_two[p]    = home_i[p] && two;
    assign other_three[p] = other_i[p] && three;
    assign home_some[p]   = home_i[p] && some[p];
    assign other_some[p]  = other_i[p] && some[p];

    if (p == 0) begin : g_lowest
      assign before_home_two[p]    = 1'b0;
      assign before_other_three[p] = 1'b0;
      assign before_home_some[p]   = 1'b0;
      assign before_other_some[p]  = 1'b0;
    end else begin : g_higher
      assign before_home_two[p]    = home_two[p-1:0] != '0;
      assign before_other_three[p] = other_three[p-1:0] != '0;
      assign before_home_some[p]   = home_some[p-1:0] != '0;
      assign before_other_some[p]  = other_some[p-1:0] != '0;
    end
  end

  // The first of each kind beside one another, then the kind.
  always_comb begin
    if (home_two != '0) chosen = home_two & ~before_home_two;
    else if (other_three != '0) chosen = other_three & ~before_other_three;
    else if (home_some != '0) chosen = home_some & ~before_home_some;
    else chosen = other_some & ~before_other_some;
  end

  assign used_o = (home_some | other_some) != '0;

  // ---- a cycle later: what it is
  logic [8:0] chosen_q;
  logic [3:0] flags_q[9];
  logic [26:0] channel_q, place_q;
  logic step_q;
  logic [3:0] here;
  logic [2:0] channel, place;
  logic [1:0] row, column, lane;

  always_ff @(posedge clk_i) begin
    chosen_q  <= chosen;
    channel_q <= channel_i;
    place_q   <= place_i;
    step_q    <= step_i;
    for (int p = 0; p < 9; p++) flags_q[p] <= flags[p];
  end

  always_comb begin
    here    = '0;
    channel = '0;
    place   = '0;
    row     = '0;
    column  = '0;
    for (int p = 0; p < 9; p++) begin
      if (chosen_q[p]) begin
        here    = here | flags_q[p];
        channel = channel | channel_q[3*p+:3];
        place   = place | place_q[3*p+:3];
        row     = row | 2'(p / 3);
        column  = column | 2'(p % 3);
      end
    end
    lane = here[0] ? 2'd0 : here[1] ? 2'd1 : here[2] ? 2'd2 : 2'd3;
  end

  always_ff @(posedge clk_i) begin
    record_o <= {row, column, channel, lane, chosen_q != '0};
    if (step_q) begin
      tap_o  <= {place, tap_o[143:3]};
      lane_o <= {lane, lane_o[95:2]};
    end
  end
endmodule

`default_nettype wire
