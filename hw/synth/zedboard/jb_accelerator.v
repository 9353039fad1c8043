// jb_top in plain Verilog, since a block design of Vivado takes no SystemVerilog module by reference.
`default_nettype none

module jb_accelerator #(
  parameter Config  = 0,
  parameter ClockHz = 100000000
) (
  (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 clk_i CLK", X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF s_axi:m_axi_hp0:m_axi_hp1, ASSOCIATED_RESET rst_ni, FREQ_HZ 100000000" *)
  input  wire        clk_i,
  (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 rst_ni RST", X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)
  input  wire        rst_ni,
  (* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 irq_o INTERRUPT", X_INTERFACE_PARAMETER = "SENSITIVITY LEVEL_HIGH" *)
  output wire        irq_o,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi AWADDR", X_INTERFACE_PARAMETER = "PROTOCOL AXI4LITE" *)
  input  wire [11:0] s_axi_awaddr,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi AWPROT" *)
  input  wire [ 2:0] s_axi_awprot,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi AWVALID" *)
  input  wire        s_axi_awvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi AWREADY" *)
  output wire        s_axi_awready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi WDATA" *)
  input  wire [31:0] s_axi_wdata,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi WSTRB" *)
  input  wire [ 3:0] s_axi_wstrb,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi WVALID" *)
  input  wire        s_axi_wvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi WREADY" *)
  output wire        s_axi_wready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi BRESP" *)
  output wire [ 1:0] s_axi_bresp,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi BVALID" *)
  output wire        s_axi_bvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi BREADY" *)
  input  wire        s_axi_bready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi ARADDR" *)
  input  wire [11:0] s_axi_araddr,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi ARPROT" *)
  input  wire [ 2:0] s_axi_arprot,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi ARVALID" *)
  input  wire        s_axi_arvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi ARREADY" *)
  output wire        s_axi_arready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi RDATA" *)
  output wire [31:0] s_axi_rdata,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi RRESP" *)
  output wire [ 1:0] s_axi_rresp,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi RVALID" *)
  output wire        s_axi_rvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi RREADY" *)
  input  wire        s_axi_rready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARID", X_INTERFACE_PARAMETER = "PROTOCOL AXI3" *)
  output wire [ 5:0] m_axi_hp0_arid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARADDR" *)
  output wire [31:0] m_axi_hp0_araddr,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARLEN" *)
  output wire [ 3:0] m_axi_hp0_arlen,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARSIZE" *)
  output wire [ 2:0] m_axi_hp0_arsize,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARBURST" *)
  output wire [ 1:0] m_axi_hp0_arburst,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARLOCK" *)
  output wire [ 1:0] m_axi_hp0_arlock,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARCACHE" *)
  output wire [ 3:0] m_axi_hp0_arcache,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARPROT" *)
  output wire [ 2:0] m_axi_hp0_arprot,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARQOS" *)
  output wire [ 3:0] m_axi_hp0_arqos,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARVALID" *)
  output wire        m_axi_hp0_arvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 ARREADY" *)
  input  wire        m_axi_hp0_arready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 RID" *)
  input  wire [ 5:0] m_axi_hp0_rid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 RDATA" *)
  input  wire [63:0] m_axi_hp0_rdata,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 RRESP" *)
  input  wire [ 1:0] m_axi_hp0_rresp,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 RLAST" *)
  input  wire        m_axi_hp0_rlast,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 RVALID" *)
  input  wire        m_axi_hp0_rvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 RREADY" *)
  output wire        m_axi_hp0_rready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWID" *)
  output wire [ 5:0] m_axi_hp0_awid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWADDR" *)
  output wire [31:0] m_axi_hp0_awaddr,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWLEN" *)
  output wire [ 3:0] m_axi_hp0_awlen,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWSIZE" *)
  output wire [ 2:0] m_axi_hp0_awsize,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWBURST" *)
  output wire [ 1:0] m_axi_hp0_awburst,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWLOCK" *)
  output wire [ 1:0] m_axi_hp0_awlock,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWCACHE" *)
  output wire [ 3:0] m_axi_hp0_awcache,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWPROT" *)
  output wire [ 2:0] m_axi_hp0_awprot,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWQOS" *)
  output wire [ 3:0] m_axi_hp0_awqos,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWVALID" *)
  output wire        m_axi_hp0_awvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 AWREADY" *)
  input  wire        m_axi_hp0_awready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 WID" *)
  output wire [ 5:0] m_axi_hp0_wid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 WDATA" *)
  output wire [63:0] m_axi_hp0_wdata,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 WSTRB" *)
  output wire [ 7:0] m_axi_hp0_wstrb,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 WLAST" *)
  output wire        m_axi_hp0_wlast,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 WVALID" *)
  output wire        m_axi_hp0_wvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 WREADY" *)
  input  wire        m_axi_hp0_wready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 BID" *)
  input  wire [ 5:0] m_axi_hp0_bid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 BRESP" *)
  input  wire [ 1:0] m_axi_hp0_bresp,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 BVALID" *)
  input  wire        m_axi_hp0_bvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp0 BREADY" *)
  output wire        m_axi_hp0_bready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARID", X_INTERFACE_PARAMETER = "PROTOCOL AXI3" *)
  output wire [ 5:0] m_axi_hp1_arid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARADDR" *)
  output wire [31:0] m_axi_hp1_araddr,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARLEN" *)
  output wire [ 3:0] m_axi_hp1_arlen,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARSIZE" *)
  output wire [ 2:0] m_axi_hp1_arsize,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARBURST" *)
  output wire [ 1:0] m_axi_hp1_arburst,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARLOCK" *)
  output wire [ 1:0] m_axi_hp1_arlock,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARCACHE" *)
  output wire [ 3:0] m_axi_hp1_arcache,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARPROT" *)
  output wire [ 2:0] m_axi_hp1_arprot,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARQOS" *)
  output wire [ 3:0] m_axi_hp1_arqos,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARVALID" *)
  output wire        m_axi_hp1_arvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 ARREADY" *)
  input  wire        m_axi_hp1_arready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 RID" *)
  input  wire [ 5:0] m_axi_hp1_rid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 RDATA" *)
  input  wire [63:0] m_axi_hp1_rdata,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 RRESP" *)
  input  wire [ 1:0] m_axi_hp1_rresp,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 RLAST" *)
  input  wire        m_axi_hp1_rlast,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 RVALID" *)
  input  wire        m_axi_hp1_rvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 RREADY" *)
  output wire        m_axi_hp1_rready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWID" *)
  output wire [ 5:0] m_axi_hp1_awid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWADDR" *)
  output wire [31:0] m_axi_hp1_awaddr,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWLEN" *)
  output wire [ 3:0] m_axi_hp1_awlen,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWSIZE" *)
  output wire [ 2:0] m_axi_hp1_awsize,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWBURST" *)
  output wire [ 1:0] m_axi_hp1_awburst,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWLOCK" *)
  output wire [ 1:0] m_axi_hp1_awlock,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWCACHE" *)
  output wire [ 3:0] m_axi_hp1_awcache,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWPROT" *)
  output wire [ 2:0] m_axi_hp1_awprot,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWQOS" *)
  output wire [ 3:0] m_axi_hp1_awqos,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWVALID" *)
  output wire        m_axi_hp1_awvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 AWREADY" *)
  input  wire        m_axi_hp1_awready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 WID" *)
  output wire [ 5:0] m_axi_hp1_wid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 WDATA" *)
  output wire [63:0] m_axi_hp1_wdata,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 WSTRB" *)
  output wire [ 7:0] m_axi_hp1_wstrb,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 WLAST" *)
  output wire        m_axi_hp1_wlast,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 WVALID" *)
  output wire        m_axi_hp1_wvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 WREADY" *)
  input  wire        m_axi_hp1_wready,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 BID" *)
  input  wire [ 5:0] m_axi_hp1_bid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 BRESP" *)
  input  wire [ 1:0] m_axi_hp1_bresp,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 BVALID" *)
  input  wire        m_axi_hp1_bvalid,
  (* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_hp1 BREADY" *)
  output wire        m_axi_hp1_bready
);
  jb_top #(
    .Config(Config),
    .ClockHz(ClockHz)
  ) u_top (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .irq_o(irq_o),
    .s_axi_awaddr(s_axi_awaddr),
    .s_axi_awprot(s_axi_awprot),
    .s_axi_awvalid(s_axi_awvalid),
    .s_axi_awready(s_axi_awready),
    .s_axi_wdata(s_axi_wdata),
    .s_axi_wstrb(s_axi_wstrb),
    .s_axi_wvalid(s_axi_wvalid),
    .s_axi_wready(s_axi_wready),
    .s_axi_bresp(s_axi_bresp),
    .s_axi_bvalid(s_axi_bvalid),
    .s_axi_bready(s_axi_bready),
    .s_axi_araddr(s_axi_araddr),
    .s_axi_arprot(s_axi_arprot),
    .s_axi_arvalid(s_axi_arvalid),
    .s_axi_arready(s_axi_arready),
    .s_axi_rdata(s_axi_rdata),
    .s_axi_rresp(s_axi_rresp),
    .s_axi_rvalid(s_axi_rvalid),
    .s_axi_rready(s_axi_rready),
    .m_axi_hp0_arid(m_axi_hp0_arid),
    .m_axi_hp0_araddr(m_axi_hp0_araddr),
    .m_axi_hp0_arlen(m_axi_hp0_arlen),
    .m_axi_hp0_arsize(m_axi_hp0_arsize),
    .m_axi_hp0_arburst(m_axi_hp0_arburst),
    .m_axi_hp0_arlock(m_axi_hp0_arlock),
    .m_axi_hp0_arcache(m_axi_hp0_arcache),
    .m_axi_hp0_arprot(m_axi_hp0_arprot),
    .m_axi_hp0_arqos(m_axi_hp0_arqos),
    .m_axi_hp0_arvalid(m_axi_hp0_arvalid),
    .m_axi_hp0_arready(m_axi_hp0_arready),
    .m_axi_hp0_rid(m_axi_hp0_rid),
    .m_axi_hp0_rdata(m_axi_hp0_rdata),
    .m_axi_hp0_rresp(m_axi_hp0_rresp),
    .m_axi_hp0_rlast(m_axi_hp0_rlast),
    .m_axi_hp0_rvalid(m_axi_hp0_rvalid),
    .m_axi_hp0_rready(m_axi_hp0_rready),
    .m_axi_hp0_awid(m_axi_hp0_awid),
    .m_axi_hp0_awaddr(m_axi_hp0_awaddr),
    .m_axi_hp0_awlen(m_axi_hp0_awlen),
    .m_axi_hp0_awsize(m_axi_hp0_awsize),
    .m_axi_hp0_awburst(m_axi_hp0_awburst),
    .m_axi_hp0_awlock(m_axi_hp0_awlock),
    .m_axi_hp0_awcache(m_axi_hp0_awcache),
    .m_axi_hp0_awprot(m_axi_hp0_awprot),
    .m_axi_hp0_awqos(m_axi_hp0_awqos),
    .m_axi_hp0_awvalid(m_axi_hp0_awvalid),
    .m_axi_hp0_awready(m_axi_hp0_awready),
    .m_axi_hp0_wid(m_axi_hp0_wid),
    .m_axi_hp0_wdata(m_axi_hp0_wdata),
    .m_axi_hp0_wstrb(m_axi_hp0_wstrb),
    .m_axi_hp0_wlast(m_axi_hp0_wlast),
    .m_axi_hp0_wvalid(m_axi_hp0_wvalid),
    .m_axi_hp0_wready(m_axi_hp0_wready),
    .m_axi_hp0_bid(m_axi_hp0_bid),
    .m_axi_hp0_bresp(m_axi_hp0_bresp),
    .m_axi_hp0_bvalid(m_axi_hp0_bvalid),
    .m_axi_hp0_bready(m_axi_hp0_bready),
    .m_axi_hp1_arid(m_axi_hp1_arid),
    .m_axi_hp1_araddr(m_axi_hp1_araddr),
    .m_axi_hp1_arlen(m_axi_hp1_arlen),
    .m_axi_hp1_arsize(m_axi_hp1_arsize),
    .m_axi_hp1_arburst(m_axi_hp1_arburst),
    .m_axi_hp1_arlock(m_axi_hp1_arlock),
    .m_axi_hp1_arcache(m_axi_hp1_arcache),
    .m_axi_hp1_arprot(m_axi_hp1_arprot),
    .m_axi_hp1_arqos(m_axi_hp1_arqos),
    .m_axi_hp1_arvalid(m_axi_hp1_arvalid),
    .m_axi_hp1_arready(m_axi_hp1_arready),
    .m_axi_hp1_rid(m_axi_hp1_rid),
    .m_axi_hp1_rdata(m_axi_hp1_rdata),
    .m_axi_hp1_rresp(m_axi_hp1_rresp),
    .m_axi_hp1_rlast(m_axi_hp1_rlast),
    .m_axi_hp1_rvalid(m_axi_hp1_rvalid),
    .m_axi_hp1_rready(m_axi_hp1_rready),
    .m_axi_hp1_awid(m_axi_hp1_awid),
    .m_axi_hp1_awaddr(m_axi_hp1_awaddr),
    .m_axi_hp1_awlen(m_axi_hp1_awlen),
    .m_axi_hp1_awsize(m_axi_hp1_awsize),
    .m_axi_hp1_awburst(m_axi_hp1_awburst),
    .m_axi_hp1_awlock(m_axi_hp1_awlock),
    .m_axi_hp1_awcache(m_axi_hp1_awcache),
    .m_axi_hp1_awprot(m_axi_hp1_awprot),
    .m_axi_hp1_awqos(m_axi_hp1_awqos),
    .m_axi_hp1_awvalid(m_axi_hp1_awvalid),
    .m_axi_hp1_awready(m_axi_hp1_awready),
    .m_axi_hp1_wid(m_axi_hp1_wid),
    .m_axi_hp1_wdata(m_axi_hp1_wdata),
    .m_axi_hp1_wstrb(m_axi_hp1_wstrb),
    .m_axi_hp1_wlast(m_axi_hp1_wlast),
    .m_axi_hp1_wvalid(m_axi_hp1_wvalid),
    .m_axi_hp1_wready(m_axi_hp1_wready),
    .m_axi_hp1_bid(m_axi_hp1_bid),
    .m_axi_hp1_bresp(m_axi_hp1_bresp),
    .m_axi_hp1_bvalid(m_axi_hp1_bvalid),
    .m_axi_hp1_bready(m_axi_hp1_bready)
  );
endmodule

`default_nettype wire
