// The course of a tile: setup, then step by step (prepare, start, count) and block by block, then its end. Says which state it is in;
// the counters, parameters and delays beside it do their work in the states of that name.
`default_nettype none

module jb_sequencer_control #(
  parameter int Setup   = 16,  // cycles until the tile's constants are right
  parameter int PassGap = 5    // cycles without a pixel between passes
) (
  input  wire logic clk_i,
  input  wire logic rst_ni,
  // the tile
  input  wire logic take_i,
  input  wire logic weight_gradient_i,
  input  wire logic predict_only_i,
  input  wire logic last_i,            // its results leave
  output      logic idle_o,
  output      logic start_o,           // pulse: the tile is there
  output      logic setup_o,           // its constants are being made
  output      logic setup_end_o,       // the last cycle of that
  output      logic geometry_valid_o,  // they are right
  output      logic release_o,         // pulse: its half of the feature buffers is free
  // steps
  input  wire logic pass_here_i,       // weight gradient: a pass waits, and it is not empty
  input  wire logic pass_pending_i,    // a pass has been started and not been copied
  input  wire logic windows_done_i,    // all passes have been taken
  input  wire logic step_start_i,      // pulse, only while step_wait_o
  input  wire logic block_end_i,       // the step was its block's last
  input  wire logic blocks_done_i,     // all blocks have been counted
  input  wire logic walk_active_i,
  output      logic prepare_o,         // the next step's parameters are made
  output      logic step_wait_o,       // they are there
  output      logic count_o,           // one cycle: the loops go on
  output      logic stalled_o,         // there is work, and none of it is done unless a walk is active
  output      logic passes_end_o,      // no pass is left
  output      logic gap_o,             // the last pixel was less than PassGap cycles ago
  // the end
  input  wire logic drain_busy_i,
  input  wire logic predict_busy_i,
  input  wire logic products_ready_i,
  output      logic job_valid_o,
  input  wire logic job_ready_i,
  output      logic job_take_o,
  output      logic job_end_o          // the job is the tile's last
);
  localparam int Tail = 26;            // from the last request to the last sum in memory

  typedef enum logic [3:0] {
    StIdle,
    StSetup,
    StPrepare,   // make the next step's parameters
    StStart,     // wait until it may start
    StNext,      // count
    StTail,      // let the pipeline run dry
    StJob,       // hand over a block
    StFinish,    // wait for the predictor and the products
    StEnd        // hand over the tile
  } state_e;

  state_e state_q;
  logic [4:0] tail_q;  // cycles in StSetup; since the last request in StTail and StFinish
  logic [2:0] gap_q;

  assign idle_o           = state_q == StIdle;
  assign setup_o          = state_q == StSetup;
  assign setup_end_o      = setup_o && tail_q == 5'(Setup);
  assign geometry_valid_o = state_q != StIdle && !(state_q == StSetup && tail_q < 5'(Setup));
  assign prepare_o        = state_q == StPrepare;
  assign step_wait_o      = state_q == StStart;
  assign count_o          = state_q == StNext;
  assign stalled_o        = state_q == StPrepare || state_q == StStart || state_q == StNext || state_q == StJob;
  assign passes_end_o     = state_q == StPrepare && weight_gradient_i && !pass_pending_i && windows_done_i;
  assign gap_o            = gap_q != '0;
  assign job_valid_o      = state_q == StJob || state_q == StEnd;
  assign job_end_o        = state_q == StEnd;
  assign job_take_o       = job_valid_o && job_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q   <= StIdle;
      start_o   <= 1'b0;
      release_o <= 1'b0;
      gap_q     <= '0;
    end else begin
      start_o   <= take_i;
      release_o <= 1'b0;
      if (walk_active_i) gap_q <= 3'(PassGap);
      else if (gap_q != '0) gap_q <= gap_q - 3'd1;

      unique case (state_q)
        StIdle: if (take_i) state_q <= StSetup;
        StSetup: if (setup_end_o) state_q <= predict_only_i ? StFinish : StPrepare;
        StPrepare: begin
          if (!weight_gradient_i) begin
            state_q <= StStart;
          end else if (!pass_pending_i) begin
            if (windows_done_i) state_q <= StTail;
            else if (pass_here_i) state_q <= StStart;
          end
        end
        StStart: if (step_start_i) state_q <= weight_gradient_i ? StPrepare : StNext;
        StNext: state_q <= block_end_i ? StTail : StPrepare;
        StTail: begin
          if (tail_q == 5'(Tail) && !drain_busy_i && !gap_o) begin
            if (last_i && !weight_gradient_i && !blocks_done_i) state_q <= StJob;
            else state_q <= StFinish;
          end
        end
        StJob: if (job_take_o) state_q <= StPrepare;
        StFinish: begin
          if (!predict_busy_i && products_ready_i && tail_q == 5'(Tail)) begin
            state_q   <= StEnd;
            release_o <= 1'b1;
          end
        end
        default: if (job_take_o) state_q <= StIdle;  // StEnd
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StSetup || state_q == StTail || state_q == StFinish) begin
      if (state_q != StSetup && walk_active_i) tail_q <= '0;
      else if (tail_q != 5'(Tail)) tail_q <= tail_q + 5'd1;
    end else begin
      tail_q <= '0;
    end
  end
endmodule

`default_nettype wire
