// The AXI4-Lite registers of accelerator.Register: control, status, errors and counters.
//
// Counters are read from a copy that a write to SNAPSHOT takes, so that LO and HI belong together; it is answered when the copy is there, at
// most 48 cycles later. Addresses without a register answer SLVERR; writes to read-only registers are ignored. One access at a time in each direction.
`default_nettype none

module jb_registers #(
  parameter int Config  = 0,           // number of the configuration
  parameter int ClockHz = 100_000_000  // of clk_i, as built
) (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // AXI4-Lite
  input  wire logic        awvalid_i,
  output      logic        awready_o,
  input  wire logic [11:0] awaddr_i,
  input  wire logic        wvalid_i,
  output      logic        wready_o,
  input  wire logic [31:0] wdata_i,
  input  wire logic [ 3:0] wstrb_i,
  output      logic        bvalid_o,
  input  wire logic        bready_i,
  output      logic [ 1:0] bresp_o,
  input  wire logic        arvalid_i,
  output      logic        arready_o,
  input  wire logic [11:0] araddr_i,
  output      logic        rvalid_o,
  input  wire logic        rready_i,
  output      logic [31:0] rdata_o,
  output      logic [ 1:0] rresp_o,
  output      logic        irq_o,
  // control
  output      logic        start_o,         // a pulse: process the list of descriptors
  output      logic        reset_o,         // a pulse: reset when the bus is quiet
  output      logic [31:0] desc_address_o,
  output      logic [15:0] desc_count_o,
  // status
  input  wire logic        busy_i,
  input  wire logic        finish_i,        // a pulse: the list is done, without an error
  input  wire logic        interrupt_i,     // a pulse: a descriptor with the flag IRQ is done
  input  wire logic        fail_i,          // a pulse: the list stopped
  input  wire logic [31:0] fail_error_i,    // with fail_i: ErrorBit mask
  input  wire logic [15:0] fail_index_i,    // with fail_i: which descriptor
  input  wire logic [15:0] desc_done_i,
  // counters: what to add in this cycle
  input  wire logic        count_stall_read_i,
  input  wire logic        count_stall_write_i,
  input  wire logic [ 1:0] count_read_i,    // beats read at port 1, 0
  input  wire logic [ 1:0] count_write_i,   // beats written at port 1, 0
  input  wire logic        count_tile_i,    // a pulse: a tile ends; its figures are stable until counting_o has fallen
  output      logic        counting_o,
  input  wire logic        forward_i,       // of the tile: its MACs are 8x8
  input  wire logic        gradient_i,      // or 8x16
  input  wire logic [31:0] compute_cycles_i,
  input  wire logic [63:0] macs_i,
  input  wire logic [47:0] macs_4x10_i,
  input  wire logic [63:0] macs_gated_i,
  input  wire logic [31:0] decided_i,
  input  wire logic [31:0] undecided_i
);
  localparam logic [1:0] Okay = 2'b00;
  localparam logic [1:0] SlaveError = 2'b10;
  localparam logic [31:0] Lanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32];
  localparam logic [31:0] InLanes = jb_pkg::CONFIG_IN_LANES[32*Config+:32];
  localparam logic [31:0] Columns = jb_pkg::CONFIG_COLUMNS[32*Config+:32];

  // ---- writes
  logic aw_held_q, w_held_q, write;
  logic [11:0] aw_q;
  logic [31:0] wdata_q;
  logic [3:0] wstrb_q;
  logic write_known;
  logic write_snapshot, snapshot_done;

  assign awready_o  = !aw_held_q;
  assign wready_o   = !w_held_q;
  assign write      = aw_held_q && w_held_q && (write_snapshot ? snapshot_done && !bvalid_o : !bvalid_o || bready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_held_q <= 1'b0;
      w_held_q  <= 1'b0;
      bvalid_o  <= 1'b0;
    end else begin
      if (awvalid_i && awready_o) aw_held_q <= 1'b1;
      else if (write) aw_held_q <= 1'b0;
      if (wvalid_i && wready_o) w_held_q <= 1'b1;
      else if (write) w_held_q <= 1'b0;
      if (write) bvalid_o <= 1'b1;
      else if (bready_i) bvalid_o <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (awvalid_i && awready_o) aw_q <= awaddr_i;
    if (wvalid_i && wready_o) begin
      wdata_q <= wdata_i;
      wstrb_q <= wstrb_i;
    end
    if (write) bresp_o <= write_known ? Okay : SlaveError;
  end

  // Registers 0x00..0x34 and the counters 0x40..0xAC exist.
  assign write_known = aw_q[11:8] == 4'd0 && aw_q[7:0] < 8'hB0 && aw_q[7:2] != 6'h0E && aw_q[7:2] != 6'h0F;

  logic write_control, write_status;
  logic [3:0] write_bits;
  assign write_bits     = wstrb_q[0] ? wdata_q[3:0] : '0;
  assign write_control  = write && write_known && aw_q[7:2] == jb_pkg::REG_CTRL[7:2];
  assign write_status   = write && write_known && aw_q[7:2] == jb_pkg::REG_STATUS[7:2];
  assign write_snapshot = write_known && aw_q[7:2] == jb_pkg::REG_SNAPSHOT[7:2];

  logic enable_q, done_q, error_q, interrupt_q;
  logic [31:0] errors_q, scratch_q, address_q, count_q;
  logic [15:0] index_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      start_o     <= 1'b0;
      reset_o     <= 1'b0;
      enable_q    <= 1'b0;
      done_q      <= 1'b0;
      error_q     <= 1'b0;
      interrupt_q <= 1'b0;
      errors_q    <= '0;
      index_q     <= '0;
      scratch_q   <= '0;
      address_q   <= '0;
      count_q     <= '0;
    end else begin
      start_o <= write_control && write_bits[0] && !write_bits[1] && !busy_i;
      reset_o <= write_control && write_bits[1];
      if (write_control && wstrb_q[0]) enable_q <= wdata_q[2];
      for (int b = 0; b < 4; b++) begin
        if (write && write_known && wstrb_q[b]) begin
          if (aw_q[7:2] == jb_pkg::REG_DESC_ADDRESS[7:2]) address_q[8*b+:8] <= wdata_q[8*b+:8];
          if (aw_q[7:2] == jb_pkg::REG_DESC_COUNT[7:2]) count_q[8*b+:8] <= wdata_q[8*b+:8];
          if (aw_q[7:2] == jb_pkg::REG_SCRATCH[7:2]) scratch_q[8*b+:8] <= wdata_q[8*b+:8];
        end
      end
      // What happens wins over what software clears in the same cycle.
      if (finish_i) done_q <= 1'b1;
      else if (start_o || (write_status && write_bits[1])) done_q <= 1'b0;
      if (fail_i) error_q <= 1'b1;
      else if (start_o || (write_status && write_bits[2])) error_q <= 1'b0;
      if (interrupt_i) interrupt_q <= 1'b1;
      else if (write_status && write_bits[3]) interrupt_q <= 1'b0;
      if (fail_i) begin
        errors_q <= fail_error_i;
        index_q  <= fail_index_i;
      end else if (start_o) begin
        errors_q <= '0;
        index_q  <= '0;
      end
    end
  end

  assign irq_o          = enable_q && (interrupt_q || error_q);
  assign desc_address_o = address_q;
  assign desc_count_o   = count_q[31:16] == '0 ? count_q[15:0] : '0;  // more than 65535: refused as 0 is

  // ---- counters, in the order of their registers
  logic counters_ready;
  logic [31:0] counter_value;
  logic [4:0] counter;  // 32-bit half of the counters

  jb_registers_counters u_counters (
    .clk_i,
    .rst_ni,
    .event_i        ({count_write_i[1], count_read_i[1], count_write_i[0], count_read_i[0], count_stall_write_i,
                      count_stall_read_i, busy_i}),
    .count_i        (count_tile_i),
    .counting_o,
    .forward_i,
    .gradient_i,
    .compute_cycles_i,
    .macs_i,
    .macs_4x10_i,
    .macs_gated_i,
    .decided_i,
    .undecided_i,
    .snapshot_i     (aw_held_q && w_held_q && write_snapshot && !bvalid_o),
    .clear_i        (write_bits[0]),
    .snapshot_done_o(snapshot_done),
    .ready_o        (counters_ready),
    .read_counter_i (counter[4:1]),
    .read_high_i    (counter[0]),
    .read_data_o    (counter_value)
  );

  // ---- reads
  logic [31:0] read_value;
  logic read_known;

  assign arready_o = (!rvalid_o || rready_i) && counters_ready;
  assign counter   = 5'(araddr_i[7:2] - 6'h10);

  always_comb begin
    read_known = araddr_i[11:8] == 4'd0;
    read_value = '0;
    unique case (araddr_i[7:2])
      jb_pkg::REG_ID[7:2]:           read_value = jb_pkg::ID_VALUE;
      jb_pkg::REG_VERSION[7:2]:      read_value = {8'd0, jb_pkg::VERSION, 16'(Config)};
      jb_pkg::REG_SPEC_HASH[7:2]:    read_value = jb_pkg::SPEC_HASH;
      jb_pkg::REG_CAPS[7:2]:         read_value = {Lanes[15:0], InLanes[7:0], Columns[7:0]};
      jb_pkg::REG_CTRL[7:2]:         read_value = {29'd0, enable_q, 2'b00};
      jb_pkg::REG_STATUS[7:2]:       read_value = {28'd0, interrupt_q, error_q, done_q, busy_i};
      jb_pkg::REG_ERROR[7:2]:        read_value = errors_q;
      jb_pkg::REG_ERROR_INDEX[7:2]:  read_value = {16'd0, index_q};
      jb_pkg::REG_DESC_ADDRESS[7:2]: read_value = address_q;
      jb_pkg::REG_DESC_COUNT[7:2]:   read_value = count_q;
      jb_pkg::REG_DESC_DONE[7:2]:    read_value = {16'd0, desc_done_i};
      jb_pkg::REG_CLOCK_HZ[7:2]:     read_value = 32'(ClockHz);
      jb_pkg::REG_SNAPSHOT[7:2]:     read_value = '0;
      jb_pkg::REG_SCRATCH[7:2]:      read_value = scratch_q;
      default: begin
        if (araddr_i[7:2] >= jb_pkg::REG_CYCLES_TOTAL[7:2] && araddr_i[7:0] < 8'hB0) read_value = counter_value;
        else read_known = 1'b0;
      end
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) rvalid_o <= 1'b0;
    else if (arvalid_i && arready_o) rvalid_o <= 1'b1;
    else if (rready_i) rvalid_o <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (arvalid_i && arready_o) begin
      rdata_o <= read_known ? read_value : '0;
      rresp_o <= read_known ? Okay : SlaveError;
    end
  end

  logic unused;
  assign unused = ^{aw_q[1:0], Lanes, InLanes, Columns};
endmodule

`default_nettype wire
