// Starts a list, ends it, and resets everything behind the registers: on request and after an error, but only when the bus is quiet,
// so that no burst is ever cut off.
`default_nettype none

module jb_run_control (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        start_i,        // a pulse
  input  wire logic        reset_i,        // a pulse
  input  wire logic [31:0] desc_address_i,
  input  wire logic [15:0] desc_count_i,
  input  wire logic        idle_i,         // the ports have nothing under way
  input  wire logic        done_i,         // a pulse: a descriptor is done
  input  wire logic        list_done_i,    // with done_i: the last
  input  wire logic        fail_i,         // a pulse: a descriptor failed
  input  wire logic [31:0] fail_error_i,
  input  wire logic [15:0] fail_index_i,
  output      logic        busy_o,
  output      logic        fetch_o,        // a pulse: fetch the list
  output      logic        halt_o,         // ask the bus for nothing more
  output      logic        run_no,         // reset of everything but the registers, active low
  output      logic        finish_o,       // a pulse: the list is done
  output      logic        fail_o,         // a pulse: the list stopped
  output      logic [31:0] fail_error_o,
  output      logic [15:0] fail_index_o,
  output      logic [15:0] desc_done_o
);
  typedef enum logic [1:0] {
    StIdle,
    StRun,
    StHalt,   // waits until the bus is quiet
    StReset
  } state_e;

  state_e state_q;
  logic [2:0] wait_q;
  logic empty, misaligned, refuse;

  assign empty      = desc_count_i == '0;
  assign misaligned = desc_address_i[2:0] != '0;
  assign refuse     = state_q == StIdle && start_i && (empty || misaligned);
  assign busy_o     = state_q != StIdle;
  assign fetch_o    = state_q == StIdle && start_i && !refuse && !reset_i;
  assign halt_o     = state_q == StHalt || state_q == StReset;
  assign finish_o   = state_q == StRun && list_done_i;
  assign fail_o     = refuse || (state_q == StRun && fail_i);

  always_comb begin
    fail_error_o = fail_error_i;
    fail_index_o = fail_index_i;
    if (refuse) begin
      fail_error_o = '0;
      fail_error_o[jb_pkg::ERR_DESC_COUNT] = empty;
      fail_error_o[jb_pkg::ERR_ALIGNMENT]  = misaligned;
      fail_index_o = '0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q     <= StIdle;
      wait_q      <= '0;
      run_no      <= 1'b0;
      desc_done_o <= '0;
    end else begin
      run_no <= state_q != StReset;
      if (fetch_o) desc_done_o <= '0;
      else if (done_i) desc_done_o <= desc_done_o + 16'd1;

      unique case (state_q)
        StIdle: begin
          wait_q <= '0;
          if (reset_i) state_q <= StHalt;
          else if (fetch_o) state_q <= StRun;
        end
        StRun: begin
          wait_q <= '0;
          if (reset_i || fail_i) state_q <= StHalt;
          else if (list_done_i) state_q <= StIdle;
        end
        StHalt: begin
          // Quiet for eight cycles: nothing is between two registers.
          wait_q <= idle_i ? wait_q + 3'd1 : '0;
          if (idle_i && wait_q == '1) state_q <= StReset;
        end
        default: begin
          wait_q <= wait_q + 3'd1;
          if (wait_q == '1) state_q <= StIdle;
        end
      endcase
    end
  end

  logic unused;
  assign unused = ^desc_address_i[31:3];
endmodule

`default_nettype wire
