// jb_axi_read_port with three clients: the AXI3 rules, and each beat goes to the client that asked.
`default_nettype none

module fv_read_port (
  input wire logic        clk_i,
  input wire logic        rst_ni,
  input wire logic        halt_i,
  input wire logic [ 2:0] burst_valid_i,
  input wire logic [95:0] burst_address_i,
  input wire logic [14:0] burst_beats_i,
  input wire logic        arready_i,
  input wire logic        rvalid_i,
  input wire logic [63:0] rdata_i,
  input wire logic [ 1:0] rresp_i,
  input wire logic        rlast_i,
  input wire logic [ 5:0] rid_i
);
  localparam int Outstanding = 3;
  logic idle, error, beat, arvalid, rready;
  logic [2:0] burst_ready, data_valid;
  logic [63:0] data;
  logic [31:0] araddr;
  logic [3:0] arlen;
  logic [5:0] arid;

  jb_axi_read_port #(
    .Clients    (3),
    .Outstanding(Outstanding)
  ) u_port (
    .clk_i,
    .rst_ni,
    .halt_i,
    .idle_o       (idle),
    .burst_valid_i,
    .burst_ready_o(burst_ready),
    .burst_address_i,
    .burst_beats_i,
    .data_valid_o (data_valid),
    .data_o       (data),
    .error_o      (error),
    .beat_o       (beat),
    .arvalid_o    (arvalid),
    .arready_i,
    .araddr_o     (araddr),
    .arlen_o      (arlen),
    .arid_o       (arid),
    .rvalid_i,
    .rready_o     (rready),
    .rdata_i,
    .rresp_i,
    .rlast_i,
    .rid_i
  );

  jb_axi_rules #(
    .Outstanding(Outstanding),
    .Formal     (1'b1)
  ) u_rules (
    .clk_i,
    .rst_ni,
    .arvalid_i(arvalid),
    .arready_i,
    .araddr_i (araddr),
    .arlen_i  (arlen),
    .arid_i   (arid),
    .rvalid_i,
    .rready_i (rready),
    .rlast_i,
    .awvalid_i(1'b0),
    .awready_i(1'b0),
    .awaddr_i ('0),
    .awlen_i  ('0),
    .wvalid_i (1'b0),
    .wready_i (1'b0),
    .wdata_i  ('0),
    .wstrb_i  ('0),
    .wlast_i  (1'b0),
    .bvalid_i (1'b0),
    .bready_i (1'b0)
  );

  logic started_q, r_valid_q;
  logic [5:0] r_id_q;
  logic [2:0] waits_q;
  logic [95:0] address_q;
  logic [14:0] beats_q;
  logic [2:0] granted;
  initial started_q = 1'b0;
  assign granted = burst_valid_i & burst_ready;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) assume (!rst_ni);
    // What the clients (jb_dma_walk) are proved to do.
    for (int unsigned c = 0; c < 3; c++) begin
      if (burst_valid_i[c]) begin
        assume (burst_beats_i[5*c+:5] >= 5'd1 && burst_beats_i[5*c+:5] <= 5'd16);
        assume (burst_address_i[32*c+:3] == '0);
        assume ({1'b0, burst_address_i[32*c+3+:9]} + {5'd0, burst_beats_i[5*c+:5]} <= 10'd512);
      end
      if (rst_ni && waits_q[c]) begin
        assume (burst_valid_i[c] && burst_address_i[32*c+:32] == address_q[32*c+:32]);
        assume (burst_beats_i[5*c+:5] == beats_q[5*c+:5]);
      end
    end
    waits_q   <= rst_ni ? burst_valid_i & ~burst_ready : '0;
    address_q <= burst_address_i;
    beats_q   <= burst_beats_i;
    r_valid_q <= rst_ni && rvalid_i;
    r_id_q    <= rid_i;

    if (started_q && rst_ni) begin
      a_one : assert ((burst_ready & (burst_ready - 3'd1)) == '0);
      a_rready : assert (rready);
      if (r_valid_q && r_id_q < 6'd3) a_owner : assert (data_valid == 3'd1 << r_id_q);
      if (!r_valid_q) a_nothing : assert (data_valid == '0);
      if (halt_i) a_halt : assert (granted == '0);
      if (arvalid) a_busy : assert (!idle);
      c_three : cover (arvalid && arid == 6'd2);
    end
  end
endmodule

`default_nettype wire
