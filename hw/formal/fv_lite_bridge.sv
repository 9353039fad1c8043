// jb_axi_lite_bridge: every request of the lite side stands until it is accepted; a read burst gives as many beats as were asked for, a
// write burst one response after all of its beats.
`default_nettype none

module fv_lite_bridge (
  input wire logic        clk_i,
  input wire logic        rst_ni,
  input wire logic        arvalid_i,
  input wire logic [11:0] araddr_i,
  input wire logic [ 3:0] arlen_i,
  input wire logic [11:0] arid_i,
  input wire logic        rready_i,
  input wire logic        awvalid_i,
  input wire logic [11:0] awaddr_i,
  input wire logic [ 3:0] awlen_i,
  input wire logic [11:0] awid_i,
  input wire logic        wvalid_i,
  input wire logic [31:0] wdata_i,
  input wire logic [ 3:0] wstrb_i,
  input wire logic        bready_i,
  input wire logic        lite_arready_i,
  input wire logic        lite_rvalid_i,
  input wire logic [31:0] lite_rdata_i,
  input wire logic [ 1:0] lite_rresp_i,
  input wire logic        lite_awready_i,
  input wire logic        lite_wready_i,
  input wire logic        lite_bvalid_i,
  input wire logic [ 1:0] lite_bresp_i
);
  logic arready_o, rvalid_o, rlast_o, awready_o, wready_o, bvalid_o, lite_arvalid_o, lite_rready_o, lite_awvalid_o, lite_wvalid_o;
  logic lite_bready_o;
  logic [31:0] rdata_o, lite_wdata_o;
  logic [1:0] rresp_o, bresp_o;
  logic [11:0] rid_o, bid_o, lite_araddr_o, lite_awaddr_o;
  logic [3:0] lite_wstrb_o;

  jb_axi_lite_bridge u_bridge (.*);

  logic started_q, ar_stood_q, aw_stood_q, w_stood_q, r_stood_q, b_stood_q;
  logic [11:0] araddr_q, awaddr_q, arid_q, awid_q;
  logic [35:0] w_q;
  logic [34:0] r_q;
  logic [1:0] bresp_q;
  logic [3:0] arlen_q, awlen_q;
  logic [4:0] beats_q, words_q;
  initial started_q = 1'b0;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) assume (!rst_ni);
    ar_stood_q <= rst_ni && lite_arvalid_o && !lite_arready_i;
    aw_stood_q <= rst_ni && lite_awvalid_o && !lite_awready_i;
    w_stood_q  <= rst_ni && lite_wvalid_o && !lite_wready_i;
    r_stood_q  <= rst_ni && rvalid_o && !rready_i;
    b_stood_q  <= rst_ni && bvalid_o && !bready_i;
    araddr_q   <= lite_araddr_o;
    awaddr_q   <= lite_awaddr_o;
    w_q        <= {lite_wdata_o, lite_wstrb_o};
    r_q        <= {rdata_o, rresp_o, rlast_o};
    bresp_q    <= bresp_o;
    // The registers keep an answer until it is taken (proved in fv_registers).
    if (rst_ni && r_stood_q) assume (lite_rvalid_i && {lite_rdata_i, lite_rresp_i} == r_q[34:1]);
    if (arvalid_i && arready_o) begin
      arlen_q <= arlen_i;
      arid_q  <= arid_i;
      beats_q <= '0;
    end else if (rvalid_o && rready_i) begin
      beats_q <= beats_q + 5'd1;
    end
    if (awvalid_i && awready_o) begin
      awlen_q <= awlen_i;
      awid_q  <= awid_i;
      words_q <= '0;
    end else if (wvalid_i && wready_o) begin
      words_q <= words_q + 5'd1;
    end
    if (started_q && rst_ni) begin
      if (ar_stood_q) a_ar_stands : assert (lite_arvalid_o && lite_araddr_o == araddr_q);
      if (aw_stood_q) a_aw_stands : assert (lite_awvalid_o && lite_awaddr_o == awaddr_q);
      if (w_stood_q) a_w_stands : assert (lite_wvalid_o && {lite_wdata_o, lite_wstrb_o} == w_q);
      if (r_stood_q) a_r_stands : assert (rvalid_o && {rdata_o, rresp_o, rlast_o} == r_q);
      if (b_stood_q) a_b_stands : assert (bvalid_o && bresp_o == bresp_q);
      if (rvalid_o) a_beats : assert (rlast_o == (beats_q == {1'b0, arlen_q}) && rid_o == arid_q);
      if (bvalid_o) a_words : assert (words_q == {1'b0, awlen_q} + 5'd1 && bid_o == awid_q);
    end
  end
endmodule

`default_nettype wire
