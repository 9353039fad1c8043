// jb_registers: the AXI4-Lite handshakes. Each address and each data word gets one answer, which stands until it is taken. And what
// happens in a cycle in which STATUS is cleared is not lost: a read right after it shows it.
`default_nettype none

module fv_registers (
  input wire logic        clk_i,
  input wire logic        rst_ni,
  input wire logic        awvalid_i,
  input wire logic [11:0] awaddr_i,
  input wire logic        wvalid_i,
  input wire logic [31:0] wdata_i,
  input wire logic [ 3:0] wstrb_i,
  input wire logic        bready_i,
  input wire logic        arvalid_i,
  input wire logic [11:0] araddr_i,
  input wire logic        rready_i,
  input wire logic        busy_i,
  input wire logic        finish_i,
  input wire logic        interrupt_i,
  input wire logic        fail_i,
  input wire logic        count_tile_i
);
  logic awready, wready, bvalid, arready, rvalid, irq, start, reset, counting;
  logic [1:0] bresp, rresp;
  logic [31:0] rdata, desc_address;
  logic [15:0] desc_count;

  jb_registers u_registers (
    .clk_i,
    .rst_ni,
    .awvalid_i,
    .awready_o          (awready),
    .awaddr_i,
    .wvalid_i,
    .wready_o           (wready),
    .wdata_i,
    .wstrb_i,
    .bvalid_o           (bvalid),
    .bready_i,
    .bresp_o            (bresp),
    .arvalid_i,
    .arready_o          (arready),
    .araddr_i,
    .rvalid_o           (rvalid),
    .rready_i,
    .rdata_o            (rdata),
    .rresp_o            (rresp),
    .irq_o              (irq),
    .start_o            (start),
    .reset_o            (reset),
    .desc_address_o     (desc_address),
    .desc_count_o       (desc_count),
    .busy_i,
    .finish_i,
    .interrupt_i,
    .fail_i,
    .fail_error_i       ('0),
    .fail_index_i       ('0),
    .desc_done_i        ('0),
    .count_stall_read_i (1'b0),
    .count_stall_write_i(1'b0),
    .count_read_i       ('0),
    .count_write_i      ('0),
    .count_tile_i       (count_tile_i),
    .counting_o         (counting),
    .forward_i          (1'b0),
    .gradient_i         (1'b0),
    .compute_cycles_i   ('0),
    .macs_i             ('0),
    .macs_4x10_i        ('0),
    .macs_gated_i       ('0),
    .decided_i          ('0),
    .undecided_i        ('0)
  );

  logic started_q, b_stood_q, r_stood_q, busy_q;
  logic [1:0] bresp_q, aw_owed_q, w_owed_q, r_owed_q;
  logic [33:0] r_q;
  logic [2:0] event_q, shown_q;  // interrupt, fail, finish: of the cycle before; that the answer to a read must show
  initial started_q = 1'b0;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) assume (!rst_ni);
    b_stood_q <= rst_ni && bvalid && !bready_i;
    r_stood_q <= rst_ni && rvalid && !rready_i;
    bresp_q   <= bresp;
    r_q       <= {rdata, rresp};
    busy_q    <= busy_i;
    event_q   <= rst_ni ? {interrupt_i, fail_i, finish_i} : '0;
    shown_q   <= rst_ni && arvalid_i && arready && araddr_i[11:2] == 10'(jb_pkg::REG_STATUS[7:2]) ? event_q : '0;
    if (!rst_ni) begin
      aw_owed_q <= '0;
      w_owed_q  <= '0;
      r_owed_q  <= '0;
    end else begin
      aw_owed_q <= aw_owed_q + 2'(awvalid_i && awready) - 2'(bvalid && bready_i);
      w_owed_q  <= w_owed_q + 2'(wvalid_i && wready) - 2'(bvalid && bready_i);
      r_owed_q  <= r_owed_q + 2'(arvalid_i && arready) - 2'(rvalid && rready_i);
    end
    if (started_q && rst_ni) begin
      if (b_stood_q) a_b_stands : assert (bvalid && bresp == bresp_q);
      if (r_stood_q) a_r_stands : assert (rvalid && {rdata, rresp} == r_q);
      a_aw_owed : assert (aw_owed_q == 2'(!awready) + 2'(bvalid));
      a_w_owed : assert (w_owed_q == 2'(!wready) + 2'(bvalid));
      a_r_owed : assert (r_owed_q == 2'(rvalid));
      a_resp : assert (!bvalid || bresp == 2'b00 || bresp == 2'b10);
      a_event : assert ((shown_q & ~rdata[3:1]) == '0);
      a_start : assert (!(start && busy_q) && !(start && reset));
      c_write : cover (bvalid && bresp == 2'b00);
    end
  end
endmodule

`default_nettype wire
