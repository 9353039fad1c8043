// The accelerator on the ZedBoard without vendor IP: the processing system's primitive, one clock buffer, and a bridge from its
// general-purpose port. For the open flow; Vivado's makes the same system as a block design. The one file that names primitives.
`default_nettype none

module jb_zedboard #(
  parameter int Config  = 1,
  parameter int ClockHz = 100_000_000
);
  // ---- clock and reset from the processing system
  logic [3:0] fclk, fclk_reset_n;
  logic clk, irq;
  (* ASYNC_REG = "TRUE" *) logic [2:0] reset_q;

  BUFG u_clock (
    .I(fclk[0]),
    .O(clk)
  );

  always_ff @(posedge clk) reset_q <= {reset_q[1:0], fclk_reset_n[0]};

  // ---- buses
  logic [31:0] hp0_araddr;
  logic [3:0] hp0_arlen;
  logic [5:0] hp0_arid;
  logic [2:0] hp0_arsize;
  logic [1:0] hp0_arburst;
  logic [1:0] hp0_arlock;
  logic [3:0] hp0_arcache;
  logic [2:0] hp0_arprot;
  logic [3:0] hp0_arqos;
  logic hp0_arvalid;
  logic hp0_arready;
  logic [31:0] hp0_awaddr;
  logic [3:0] hp0_awlen;
  logic [5:0] hp0_awid;
  logic [2:0] hp0_awsize;
  logic [1:0] hp0_awburst;
  logic [1:0] hp0_awlock;
  logic [3:0] hp0_awcache;
  logic [2:0] hp0_awprot;
  logic [3:0] hp0_awqos;
  logic hp0_awvalid;
  logic hp0_awready;
  logic [63:0] hp0_wdata;
  logic [7:0] hp0_wstrb;
  logic hp0_wlast;
  logic [5:0] hp0_wid;
  logic hp0_wvalid;
  logic hp0_wready;
  logic [63:0] hp0_rdata;
  logic [1:0] hp0_rresp;
  logic hp0_rlast;
  logic [5:0] hp0_rid;
  logic hp0_rvalid;
  logic hp0_rready;
  logic [1:0] hp0_bresp;
  logic [5:0] hp0_bid;
  logic hp0_bvalid;
  logic hp0_bready;
  logic [31:0] hp1_araddr;
  logic [3:0] hp1_arlen;
  logic [5:0] hp1_arid;
  logic [2:0] hp1_arsize;
  logic [1:0] hp1_arburst;
  logic [1:0] hp1_arlock;
  logic [3:0] hp1_arcache;
  logic [2:0] hp1_arprot;
  logic [3:0] hp1_arqos;
  logic hp1_arvalid;
  logic hp1_arready;
  logic [31:0] hp1_awaddr;
  logic [3:0] hp1_awlen;
  logic [5:0] hp1_awid;
  logic [2:0] hp1_awsize;
  logic [1:0] hp1_awburst;
  logic [1:0] hp1_awlock;
  logic [3:0] hp1_awcache;
  logic [2:0] hp1_awprot;
  logic [3:0] hp1_awqos;
  logic hp1_awvalid;
  logic hp1_awready;
  logic [63:0] hp1_wdata;
  logic [7:0] hp1_wstrb;
  logic hp1_wlast;
  logic [5:0] hp1_wid;
  logic hp1_wvalid;
  logic hp1_wready;
  logic [63:0] hp1_rdata;
  logic [1:0] hp1_rresp;
  logic hp1_rlast;
  logic [5:0] hp1_rid;
  logic hp1_rvalid;
  logic hp1_rready;
  logic [1:0] hp1_bresp;
  logic [5:0] hp1_bid;
  logic hp1_bvalid;
  logic hp1_bready;
  logic [31:0] gp_araddr;
  logic [3:0] gp_arlen;
  logic [11:0] gp_arid;
  logic gp_arvalid;
  logic gp_arready;
  logic [31:0] gp_awaddr;
  logic [3:0] gp_awlen;
  logic [11:0] gp_awid;
  logic gp_awvalid;
  logic gp_awready;
  logic [31:0] gp_wdata;
  logic [3:0] gp_wstrb;
  logic gp_wlast;
  logic gp_wvalid;
  logic gp_wready;
  logic [31:0] gp_rdata;
  logic [1:0] gp_rresp;
  logic gp_rlast;
  logic [11:0] gp_rid;
  logic gp_rvalid;
  logic gp_rready;
  logic [1:0] gp_bresp;
  logic [11:0] gp_bid;
  logic gp_bvalid;
  logic gp_bready;
  logic lite_arvalid;
  logic lite_arready;
  logic [11:0] lite_araddr;
  logic lite_rvalid;
  logic lite_rready;
  logic [31:0] lite_rdata;
  logic [1:0] lite_rresp;
  logic lite_awvalid;
  logic lite_awready;
  logic [11:0] lite_awaddr;
  logic lite_wvalid;
  logic lite_wready;
  logic [31:0] lite_wdata;
  logic [3:0] lite_wstrb;
  logic lite_bvalid;
  logic lite_bready;
  logic [1:0] lite_bresp;

  PS7 u_ps7 (
    .FCLKCLK(fclk),
    .FCLKRESETN(fclk_reset_n),
    .FCLKCLKTRIGN(4'd0),
    .IRQF2P({19'd0, irq}),
    .MAXIGP0ACLK(clk),
    .MAXIGP0ARADDR(gp_araddr),
    .MAXIGP0ARLEN(gp_arlen),
    .MAXIGP0ARID(gp_arid),
    .MAXIGP0ARVALID(gp_arvalid),
    .MAXIGP0ARREADY(gp_arready),
    .MAXIGP0AWADDR(gp_awaddr),
    .MAXIGP0AWLEN(gp_awlen),
    .MAXIGP0AWID(gp_awid),
    .MAXIGP0AWVALID(gp_awvalid),
    .MAXIGP0AWREADY(gp_awready),
    .MAXIGP0WDATA(gp_wdata),
    .MAXIGP0WSTRB(gp_wstrb),
    .MAXIGP0WLAST(gp_wlast),
    .MAXIGP0WVALID(gp_wvalid),
    .MAXIGP0WREADY(gp_wready),
    .MAXIGP0RDATA(gp_rdata),
    .MAXIGP0RRESP(gp_rresp),
    .MAXIGP0RLAST(gp_rlast),
    .MAXIGP0RID(gp_rid),
    .MAXIGP0RVALID(gp_rvalid),
    .MAXIGP0RREADY(gp_rready),
    .MAXIGP0BRESP(gp_bresp),
    .MAXIGP0BID(gp_bid),
    .MAXIGP0BVALID(gp_bvalid),
    .MAXIGP0BREADY(gp_bready),
    .SAXIHP0ACLK(clk),
    .SAXIHP0RDISSUECAP1EN(1'b0),
    .SAXIHP0WRISSUECAP1EN(1'b0),
    .SAXIHP0ARADDR(hp0_araddr),
    .SAXIHP0ARLEN(hp0_arlen),
    .SAXIHP0ARID(hp0_arid),
    .SAXIHP0ARBURST(hp0_arburst),
    .SAXIHP0ARLOCK(hp0_arlock),
    .SAXIHP0ARCACHE(hp0_arcache),
    .SAXIHP0ARPROT(hp0_arprot),
    .SAXIHP0ARQOS(hp0_arqos),
    .SAXIHP0ARVALID(hp0_arvalid),
    .SAXIHP0ARREADY(hp0_arready),
    .SAXIHP0AWADDR(hp0_awaddr),
    .SAXIHP0AWLEN(hp0_awlen),
    .SAXIHP0AWID(hp0_awid),
    .SAXIHP0AWBURST(hp0_awburst),
    .SAXIHP0AWLOCK(hp0_awlock),
    .SAXIHP0AWCACHE(hp0_awcache),
    .SAXIHP0AWPROT(hp0_awprot),
    .SAXIHP0AWQOS(hp0_awqos),
    .SAXIHP0AWVALID(hp0_awvalid),
    .SAXIHP0AWREADY(hp0_awready),
    .SAXIHP0WDATA(hp0_wdata),
    .SAXIHP0WSTRB(hp0_wstrb),
    .SAXIHP0WLAST(hp0_wlast),
    .SAXIHP0WID(hp0_wid),
    .SAXIHP0WVALID(hp0_wvalid),
    .SAXIHP0WREADY(hp0_wready),
    .SAXIHP0RDATA(hp0_rdata),
    .SAXIHP0RRESP(hp0_rresp),
    .SAXIHP0RLAST(hp0_rlast),
    .SAXIHP0RID(hp0_rid),
    .SAXIHP0RVALID(hp0_rvalid),
    .SAXIHP0RREADY(hp0_rready),
    .SAXIHP0BRESP(hp0_bresp),
    .SAXIHP0BID(hp0_bid),
    .SAXIHP0BVALID(hp0_bvalid),
    .SAXIHP0BREADY(hp0_bready),
    .SAXIHP0ARSIZE(hp0_arsize[1:0]),
    .SAXIHP0AWSIZE(hp0_awsize[1:0]),
    .SAXIHP1ACLK(clk),
    .SAXIHP1RDISSUECAP1EN(1'b0),
    .SAXIHP1WRISSUECAP1EN(1'b0),
    .SAXIHP1ARADDR(hp1_araddr),
    .SAXIHP1ARLEN(hp1_arlen),
    .SAXIHP1ARID(hp1_arid),
    .SAXIHP1ARBURST(hp1_arburst),
    .SAXIHP1ARLOCK(hp1_arlock),
    .SAXIHP1ARCACHE(hp1_arcache),
    .SAXIHP1ARPROT(hp1_arprot),
    .SAXIHP1ARQOS(hp1_arqos),
    .SAXIHP1ARVALID(hp1_arvalid),
    .SAXIHP1ARREADY(hp1_arready),
    .SAXIHP1AWADDR(hp1_awaddr),
    .SAXIHP1AWLEN(hp1_awlen),
    .SAXIHP1AWID(hp1_awid),
    .SAXIHP1AWBURST(hp1_awburst),
    .SAXIHP1AWLOCK(hp1_awlock),
    .SAXIHP1AWCACHE(hp1_awcache),
    .SAXIHP1AWPROT(hp1_awprot),
    .SAXIHP1AWQOS(hp1_awqos),
    .SAXIHP1AWVALID(hp1_awvalid),
    .SAXIHP1AWREADY(hp1_awready),
    .SAXIHP1WDATA(hp1_wdata),
    .SAXIHP1WSTRB(hp1_wstrb),
    .SAXIHP1WLAST(hp1_wlast),
    .SAXIHP1WID(hp1_wid),
    .SAXIHP1WVALID(hp1_wvalid),
    .SAXIHP1WREADY(hp1_wready),
    .SAXIHP1RDATA(hp1_rdata),
    .SAXIHP1RRESP(hp1_rresp),
    .SAXIHP1RLAST(hp1_rlast),
    .SAXIHP1RID(hp1_rid),
    .SAXIHP1RVALID(hp1_rvalid),
    .SAXIHP1RREADY(hp1_rready),
    .SAXIHP1BRESP(hp1_bresp),
    .SAXIHP1BID(hp1_bid),
    .SAXIHP1BVALID(hp1_bvalid),
    .SAXIHP1BREADY(hp1_bready),
    .SAXIHP1ARSIZE(hp1_arsize[1:0]),
    .SAXIHP1AWSIZE(hp1_awsize[1:0])
  );

  jb_axi_lite_bridge u_bridge (
    .clk_i(clk),
    .rst_ni(reset_q[2]),
    .arvalid_i(gp_arvalid),
    .arready_o(gp_arready),
    .araddr_i(gp_araddr[11:0]),
    .arlen_i(gp_arlen),
    .arid_i(gp_arid),
    .rvalid_o(gp_rvalid),
    .rready_i(gp_rready),
    .rdata_o(gp_rdata),
    .rresp_o(gp_rresp),
    .rlast_o(gp_rlast),
    .rid_o(gp_rid),
    .awvalid_i(gp_awvalid),
    .awready_o(gp_awready),
    .awaddr_i(gp_awaddr[11:0]),
    .awlen_i(gp_awlen),
    .awid_i(gp_awid),
    .wvalid_i(gp_wvalid),
    .wready_o(gp_wready),
    .wdata_i(gp_wdata),
    .wstrb_i(gp_wstrb),
    .bvalid_o(gp_bvalid),
    .bready_i(gp_bready),
    .bresp_o(gp_bresp),
    .bid_o(gp_bid),
    .lite_arvalid_o(lite_arvalid),
    .lite_arready_i(lite_arready),
    .lite_araddr_o(lite_araddr),
    .lite_rvalid_i(lite_rvalid),
    .lite_rready_o(lite_rready),
    .lite_rdata_i(lite_rdata),
    .lite_rresp_i(lite_rresp),
    .lite_awvalid_o(lite_awvalid),
    .lite_awready_i(lite_awready),
    .lite_awaddr_o(lite_awaddr),
    .lite_wvalid_o(lite_wvalid),
    .lite_wready_i(lite_wready),
    .lite_wdata_o(lite_wdata),
    .lite_wstrb_o(lite_wstrb),
    .lite_bvalid_i(lite_bvalid),
    .lite_bready_o(lite_bready),
    .lite_bresp_i(lite_bresp)
  );

  jb_top #(
    .Config(Config),
    .ClockHz(ClockHz)
  ) u_top (
    .clk_i(clk),
    .rst_ni(reset_q[2]),
    .irq_o(irq),
    .s_axi_awprot(3'd0),
    .s_axi_arprot(3'd0),
    .s_axi_arvalid(lite_arvalid),
    .s_axi_arready(lite_arready),
    .s_axi_araddr(lite_araddr),
    .s_axi_rvalid(lite_rvalid),
    .s_axi_rready(lite_rready),
    .s_axi_rdata(lite_rdata),
    .s_axi_rresp(lite_rresp),
    .s_axi_awvalid(lite_awvalid),
    .s_axi_awready(lite_awready),
    .s_axi_awaddr(lite_awaddr),
    .s_axi_wvalid(lite_wvalid),
    .s_axi_wready(lite_wready),
    .s_axi_wdata(lite_wdata),
    .s_axi_wstrb(lite_wstrb),
    .s_axi_bvalid(lite_bvalid),
    .s_axi_bready(lite_bready),
    .s_axi_bresp(lite_bresp),
    .m_axi_hp0_araddr(hp0_araddr),
    .m_axi_hp0_arlen(hp0_arlen),
    .m_axi_hp0_arid(hp0_arid),
    .m_axi_hp0_arsize(hp0_arsize),
    .m_axi_hp0_arburst(hp0_arburst),
    .m_axi_hp0_arlock(hp0_arlock),
    .m_axi_hp0_arcache(hp0_arcache),
    .m_axi_hp0_arprot(hp0_arprot),
    .m_axi_hp0_arqos(hp0_arqos),
    .m_axi_hp0_arvalid(hp0_arvalid),
    .m_axi_hp0_arready(hp0_arready),
    .m_axi_hp0_awaddr(hp0_awaddr),
    .m_axi_hp0_awlen(hp0_awlen),
    .m_axi_hp0_awid(hp0_awid),
    .m_axi_hp0_awsize(hp0_awsize),
    .m_axi_hp0_awburst(hp0_awburst),
    .m_axi_hp0_awlock(hp0_awlock),
    .m_axi_hp0_awcache(hp0_awcache),
    .m_axi_hp0_awprot(hp0_awprot),
    .m_axi_hp0_awqos(hp0_awqos),
    .m_axi_hp0_awvalid(hp0_awvalid),
    .m_axi_hp0_awready(hp0_awready),
    .m_axi_hp0_wdata(hp0_wdata),
    .m_axi_hp0_wstrb(hp0_wstrb),
    .m_axi_hp0_wlast(hp0_wlast),
    .m_axi_hp0_wid(hp0_wid),
    .m_axi_hp0_wvalid(hp0_wvalid),
    .m_axi_hp0_wready(hp0_wready),
    .m_axi_hp0_rdata(hp0_rdata),
    .m_axi_hp0_rresp(hp0_rresp),
    .m_axi_hp0_rlast(hp0_rlast),
    .m_axi_hp0_rid(hp0_rid),
    .m_axi_hp0_rvalid(hp0_rvalid),
    .m_axi_hp0_rready(hp0_rready),
    .m_axi_hp0_bresp(hp0_bresp),
    .m_axi_hp0_bid(hp0_bid),
    .m_axi_hp0_bvalid(hp0_bvalid),
    .m_axi_hp0_bready(hp0_bready),
    .m_axi_hp1_araddr(hp1_araddr),
    .m_axi_hp1_arlen(hp1_arlen),
    .m_axi_hp1_arid(hp1_arid),
    .m_axi_hp1_arsize(hp1_arsize),
    .m_axi_hp1_arburst(hp1_arburst),
    .m_axi_hp1_arlock(hp1_arlock),
    .m_axi_hp1_arcache(hp1_arcache),
    .m_axi_hp1_arprot(hp1_arprot),
    .m_axi_hp1_arqos(hp1_arqos),
    .m_axi_hp1_arvalid(hp1_arvalid),
    .m_axi_hp1_arready(hp1_arready),
    .m_axi_hp1_awaddr(hp1_awaddr),
    .m_axi_hp1_awlen(hp1_awlen),
    .m_axi_hp1_awid(hp1_awid),
    .m_axi_hp1_awsize(hp1_awsize),
    .m_axi_hp1_awburst(hp1_awburst),
    .m_axi_hp1_awlock(hp1_awlock),
    .m_axi_hp1_awcache(hp1_awcache),
    .m_axi_hp1_awprot(hp1_awprot),
    .m_axi_hp1_awqos(hp1_awqos),
    .m_axi_hp1_awvalid(hp1_awvalid),
    .m_axi_hp1_awready(hp1_awready),
    .m_axi_hp1_wdata(hp1_wdata),
    .m_axi_hp1_wstrb(hp1_wstrb),
    .m_axi_hp1_wlast(hp1_wlast),
    .m_axi_hp1_wid(hp1_wid),
    .m_axi_hp1_wvalid(hp1_wvalid),
    .m_axi_hp1_wready(hp1_wready),
    .m_axi_hp1_rdata(hp1_rdata),
    .m_axi_hp1_rresp(hp1_rresp),
    .m_axi_hp1_rlast(hp1_rlast),
    .m_axi_hp1_rid(hp1_rid),
    .m_axi_hp1_rvalid(hp1_rvalid),
    .m_axi_hp1_rready(hp1_rready),
    .m_axi_hp1_bresp(hp1_bresp),
    .m_axi_hp1_bid(hp1_bid),
    .m_axi_hp1_bvalid(hp1_bvalid),
    .m_axi_hp1_bready(hp1_bready)
  );
endmodule

`default_nettype wire
