// Control: the AXI4-Lite registers, and the course of a list: its start, its end, and the reset of everything behind the registers, on
// request or after an error, when the buses are quiet (jb_run_control). desc_*_o are stable while busy_o.
`default_nettype none

module jb_control #(
  parameter int Config  = 0,
  parameter int ClockHz = 100_000_000
) (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // AXI4-Lite
  input  wire logic [11:0] awaddr_i,
  input  wire logic        awvalid_i,
  output      logic        awready_o,
  input  wire logic [31:0] wdata_i,
  input  wire logic [ 3:0] wstrb_i,
  input  wire logic        wvalid_i,
  output      logic        wready_o,
  output      logic [ 1:0] bresp_o,
  output      logic        bvalid_o,
  input  wire logic        bready_i,
  input  wire logic [11:0] araddr_i,
  input  wire logic        arvalid_i,
  output      logic        arready_o,
  output      logic [31:0] rdata_o,
  output      logic [ 1:0] rresp_o,
  output      logic        rvalid_o,
  input  wire logic        rready_i,
  output      logic        irq_o,
  // a list
  output      logic        busy_o,
  output      logic        fetch_o,            // a pulse: fetch the list
  output      logic [31:0] desc_address_o,
  output      logic [15:0] desc_count_o,
  output      logic        halt_o,             // ask the buses for nothing more
  output      logic        run_no,             // reset of everything but this
  input  wire logic        idle_i,             // the buses have nothing under way
  // what becomes of it
  input  wire logic        done_i,             // a pulse: a descriptor is done
  input  wire logic        list_done_i,        // with done_i: the last
  input  wire logic        interrupt_i,        // a pulse: one with the flag IRQ is done
  input  wire logic        fail_i,             // a pulse: one failed
  input  wire logic [31:0] fail_error_i,
  input  wire logic [15:0] fail_index_i,
  // counters: what to add in this cycle
  input  wire logic        count_stall_read_i,
  input  wire logic        count_stall_write_i,
  input  wire logic [ 1:0] count_read_i,       // beats read at port 1, 0
  input  wire logic [ 1:0] count_write_i,      // beats written at port 1, 0
  // and a tile's figures, stable until counting_o has fallen
  input  wire logic        count_tile_i,       // a pulse
  output      logic        counting_o,
  input  wire logic        forward_i,
  input  wire logic        gradient_i,
  input  wire logic [31:0] compute_cycles_i,
  input  wire logic [63:0] macs_i,
  input  wire logic [47:0] macs_4x10_i,
  input  wire logic [63:0] macs_gated_i,
  input  wire logic [31:0] decided_i,
  input  wire logic [31:0] undecided_i
);
  logic start, reset_request, finish, fail;
  logic [31:0] fail_error;
  logic [15:0] fail_index, desc_done;

  jb_registers #(
    .Config(Config),
    .ClockHz(ClockHz)
  ) u_registers (
    .clk_i,
    .rst_ni,
    .awvalid_i,
    .awready_o,
    .awaddr_i,
    .wvalid_i,
    .wready_o,
    .wdata_i,
    .wstrb_i,
    .bvalid_o,
    .bready_i,
    .bresp_o,
    .arvalid_i,
    .arready_o,
    .araddr_i,
    .rvalid_o,
    .rready_i,
    .rdata_o,
    .rresp_o,
    .irq_o,
    .start_o            (start),
    .reset_o            (reset_request),
    .desc_address_o,
    .desc_count_o,
    .busy_i             (busy_o),
    .finish_i           (finish),
    .interrupt_i,
    .fail_i             (fail),
    .fail_error_i       (fail_error),
    .fail_index_i       (fail_index),
    .desc_done_i        (desc_done),
    .count_stall_read_i,
    .count_stall_write_i,
    .count_read_i,
    .count_write_i,
    .count_tile_i,
    .counting_o,
    .forward_i,
    .gradient_i,
    .compute_cycles_i,
    .macs_i,
    .macs_4x10_i,
    .macs_gated_i,
    .decided_i,
    .undecided_i
  );

  jb_run_control u_control (
    .clk_i,
    .rst_ni,
    .start_i       (start),
    .reset_i       (reset_request),
    .desc_address_i(desc_address_o),
    .desc_count_i  (desc_count_o),
    .idle_i        (idle_i && !counting_o),
    .done_i,
    .list_done_i,
    .fail_i,
    .fail_error_i,
    .fail_index_i,
    .busy_o,
    .fetch_o,
    .halt_o,
    .run_no,
    .finish_o      (finish),
    .fail_o        (fail),
    .fail_error_o  (fail_error),
    .fail_index_o  (fail_index),
    .desc_done_o   (desc_done)
  );
endmodule

`default_nettype wire
