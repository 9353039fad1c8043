// Takes the packed weights of a tile from their stream: per output block the initial sums, then groups. A group goes on to the array,
// whose multipliers keep it in their first registers while they work with the one before; they copy it when the step that needs it
// begins. Beside the group it makes the sum of each chain's six weights, with which the array centres the lower one of two packed rows.
`default_nettype none

module jb_array_weights #(
  parameter int OutLanes = 16
) (
  input  wire logic                    clk_i,
  input  wire logic                    rst_ni,
  input  wire logic                    start_i,       // a tile with weights begins: initial sums come first
  input  wire logic                    forward_i,     // stable during a tile
  input  wire logic                    valid_i,
  output      logic                    ready_o,
  input  wire logic [63:0]             data_i,
  output      logic                    staged_o,      // a group (and before a block's first one its initial sums) is here
  input  wire logic                    taken_i,       // it has been copied and may be overwritten
  input  wire logic                    taken_last_i,  // with taken_i: it was the block's last
  input  wire logic                    over_i,        // the block's initial sums may be overwritten, not before taken_last_i
  input  wire logic                    finished_i,    // with over_i: it was the tile's last block
  output      logic [12*OutLanes/8-1:0] load_o,       // a cycle after data_i: these eight multipliers take its bytes
  output      logic [22*OutLanes-1:0]  chain_o,       // 11 bits per chain (six multipliers): minus the sum of its weights; 0 unless forward
  output      logic [48*OutLanes-1:0]  initial_o
);
  localparam int Beats = 12 * OutLanes / 8;

  typedef enum logic [2:0] {
    StIdle,
    StInitial,
    StGroup,
    StStaged,
    StHold
  } state_e;

  state_e state_q;
  logic [4:0] beat_q;
  logic transfer;

  assign ready_o  = state_q == StInitial || state_q == StGroup;
  assign staged_o = state_q == StStaged;
  assign transfer = valid_i && ready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q  <= '0;
    end else begin
      if (transfer) beat_q <= beat_q + 5'd1;
      unique case (state_q)
        StIdle: if (start_i) state_q <= StInitial;
        StInitial: begin
          if (transfer && beat_q == 5'(OutLanes - 1)) begin
            state_q <= StGroup;
            beat_q  <= '0;
          end
        end
        StGroup: begin
          if (transfer && beat_q == 5'(Beats - 1)) begin
            state_q <= StStaged;
            beat_q  <= '0;
          end
        end
        StStaged: begin
          if (taken_i && !taken_last_i) state_q <= StGroup;
          else if (taken_i && over_i) state_q <= finished_i ? StIdle : StInitial;
          else if (taken_i) state_q <= StHold;
        end
        default: if (over_i) state_q <= finished_i ? StIdle : StInitial;
      endcase
    end
  end

  // Three beats hold the weights of four chains; sums of pairs first, a cycle later those of chains.
  logic [1:0] third_q, third1_q;
  logic transfer1_q;
  logic [8:0] pair_q[4];
  logic [9:0] four, carry_q;
  logic [10:0] sum[2], minus[2];

  always_comb begin
    four = 10'($signed(third1_q == 2'd0 ? pair_q[1] : pair_q[3])) + 10'($signed(pair_q[2]));
    unique case (third1_q)
      2'd0: sum[0] = 11'($signed(four)) + 11'($signed(pair_q[0]));
      2'd1: sum[0] = 11'($signed(carry_q)) + 11'($signed(pair_q[1])) + 11'($signed(pair_q[0]));
      default: sum[0] = 11'($signed(carry_q)) + 11'($signed(pair_q[0]));
    endcase
    sum[1] = 11'($signed(four)) + 11'($signed(pair_q[1]));
    for (int n = 0; n < 2; n++) minus[n] = forward_i ? -sum[n] : '0;
  end

  always_ff @(posedge clk_i) begin
    if (state_q != StGroup) third_q <= '0;
    else if (transfer) third_q <= third_q == 2'd2 ? 2'd0 : third_q + 2'd1;
    third1_q    <= third_q;
    transfer1_q <= transfer;
    for (int n = 0; n < 4; n++) pair_q[n] <= 9'($signed(data_i[16*n+:8])) + 9'($signed(data_i[16*n+8+:8]));
    if (transfer1_q) carry_q <= third1_q == 2'd0 ? 10'($signed(pair_q[3])) : four;
  end

  for (genvar beat = 0; beat < Beats; beat++) begin : g_beat
    localparam int First = 4 * (beat / 3) + beat % 3;
    localparam int Count = beat % 3 == 2 ? 2 : 1;
    logic here;

    assign here = transfer && state_q == StGroup && beat_q == 5'(beat);

    always_ff @(posedge clk_i) load_o[beat] <= here;

    for (genvar n = 0; n < Count; n++) begin : g_chain
      always_ff @(posedge clk_i) begin
        if (load_o[beat]) chain_o[11*(First+n)+:11] <= minus[n];
      end
    end
  end

  for (genvar lane = 0; lane < OutLanes; lane++) begin : g_initial
    always_ff @(posedge clk_i) begin
      if (transfer && state_q == StInitial && beat_q == 5'(lane)) initial_o[48*lane+:48] <= data_i[47:0];
    end
  end

  logic unused;
  assign unused = ^data_i;
endmodule

`default_nettype wire
