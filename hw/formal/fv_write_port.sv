// jb_axi_write_port: the AXI3 rules; no beat without a request; the beats are the words that were handed over, in order.
`default_nettype none

module fv_write_port (
  input wire logic        clk_i,
  input wire logic        rst_ni,
  input wire logic        halt_i,
  input wire logic        burst_valid_i,
  input wire logic [31:0] burst_address_i,
  input wire logic [ 4:0] burst_beats_i,
  input wire logic        data_valid_i,
  input wire logic [63:0] data_i,
  input wire logic        awready_i,
  input wire logic        wready_i,
  input wire logic        bvalid_i,
  input wire logic [ 1:0] bresp_i
);
  localparam int Outstanding = 2;
  logic idle, error, beat, starved, burst_ready, data_ready, awvalid, wvalid, wlast, bready;
  logic [31:0] awaddr;
  logic [3:0] awlen;
  logic [63:0] wdata;
  logic [7:0] wstrb;

  jb_axi_write_port #(
    .Outstanding(Outstanding),
    .Depth      (32)
  ) u_port (
    .clk_i,
    .rst_ni,
    .halt_i,
    .idle_o       (idle),
    .error_o      (error),
    .beat_o       (beat),
    .starved_o    (starved),
    .burst_valid_i,
    .burst_ready_o(burst_ready),
    .burst_address_i,
    .burst_beats_i,
    .burst_upper_i(1'b0),
    .burst_lower_i(1'b0),
    .data_valid_i,
    .data_ready_o (data_ready),
    .data_i,
    .awvalid_o    (awvalid),
    .awready_i,
    .awaddr_o     (awaddr),
    .awlen_o      (awlen),
    .wvalid_o     (wvalid),
    .wready_i,
    .wdata_o      (wdata),
    .wstrb_o      (wstrb),
    .wlast_o      (wlast),
    .bvalid_i,
    .bready_o     (bready),
    .bresp_i
  );

  jb_axi_rules #(
    .Outstanding(Outstanding),
    .Formal     (1'b1)
  ) u_rules (
    .clk_i,
    .rst_ni,
    .arvalid_i(1'b0),
    .arready_i(1'b0),
    .araddr_i ('0),
    .arlen_i  ('0),
    .arid_i   ('0),
    .rvalid_i (1'b0),
    .rready_i (1'b0),
    .rlast_i  (1'b0),
    .awvalid_i(awvalid),
    .awready_i,
    .awaddr_i (awaddr),
    .awlen_i  (awlen),
    .wvalid_i (wvalid),
    .wready_i,
    .wdata_i  (wdata),
    .wstrb_i  (wstrb),
    .wlast_i  (wlast),
    .bvalid_i,
    .bready_i (bready)
  );

  logic started_q, waits_q, chosen_seen_q;
  logic [31:0] address_q;
  logic [4:0] beats_q;
  logic [5:0] pushed_q, sent_q;
  logic [63:0] word_q;
  (* anyconst *) logic [5:0] chosen;
  initial started_q = 1'b0;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) assume (!rst_ni);
    if (burst_valid_i) begin
      assume (burst_beats_i >= 5'd1 && burst_beats_i <= 5'd16);
      assume (burst_address_i[2:0] == '0);
      assume ({1'b0, burst_address_i[11:3]} + {5'd0, burst_beats_i} <= 10'd512);
    end
    if (rst_ni && waits_q) assume (burst_valid_i && burst_address_i == address_q && burst_beats_i == beats_q);
    waits_q   <= rst_ni && burst_valid_i && !burst_ready;
    address_q <= burst_address_i;
    beats_q   <= burst_beats_i;

    if (!rst_ni) begin
      pushed_q      <= '0;
      sent_q        <= '0;
      chosen_seen_q <= 1'b0;
    end else begin
      if (data_valid_i && data_ready) pushed_q <= pushed_q + 6'd1;
      if (data_valid_i && data_ready && pushed_q == chosen && !chosen_seen_q) begin
        word_q        <= data_i;
        chosen_seen_q <= 1'b1;
      end
      if (wvalid && wready_i) sent_q <= sent_q + 6'd1;
    end
    if (started_q && rst_ni) begin
      if (wvalid) a_there : assert (pushed_q - sent_q != '0);
      if (wvalid && sent_q == chosen && chosen_seen_q) a_word : assert (wdata == word_q);
      if (awvalid || wvalid) a_busy : assert (!idle);
      if (halt_i) a_halt : assert (!burst_ready);
      c_burst : cover (wvalid && wlast && sent_q == 6'd3);
    end
  end
endmodule

`default_nettype wire
