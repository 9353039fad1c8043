// From the processing system's AXI3 master port (32 bit, with IDs and bursts) to AXI4-Lite: one transfer at a time, a burst beat by
// beat at rising addresses, its worst response for all of a write. For flows without the vendor's interconnect.
`default_nettype none

module jb_axi_lite_bridge (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // AXI3
  input  wire logic        arvalid_i,
  output      logic        arready_o,
  input  wire logic [11:0] araddr_i,
  input  wire logic [ 3:0] arlen_i,
  input  wire logic [11:0] arid_i,
  output      logic        rvalid_o,
  input  wire logic        rready_i,
  output      logic [31:0] rdata_o,
  output      logic [ 1:0] rresp_o,
  output      logic        rlast_o,
  output      logic [11:0] rid_o,
  input  wire logic        awvalid_i,
  output      logic        awready_o,
  input  wire logic [11:0] awaddr_i,
  input  wire logic [ 3:0] awlen_i,
  input  wire logic [11:0] awid_i,
  input  wire logic        wvalid_i,
  output      logic        wready_o,
  input  wire logic [31:0] wdata_i,
  input  wire logic [ 3:0] wstrb_i,
  output      logic        bvalid_o,
  input  wire logic        bready_i,
  output      logic [ 1:0] bresp_o,
  output      logic [11:0] bid_o,
  // AXI4-Lite
  output      logic        lite_arvalid_o,
  input  wire logic        lite_arready_i,
  output      logic [11:0] lite_araddr_o,
  input  wire logic        lite_rvalid_i,
  output      logic        lite_rready_o,
  input  wire logic [31:0] lite_rdata_i,
  input  wire logic [ 1:0] lite_rresp_i,
  output      logic        lite_awvalid_o,
  input  wire logic        lite_awready_i,
  output      logic [11:0] lite_awaddr_o,
  output      logic        lite_wvalid_o,
  input  wire logic        lite_wready_i,
  output      logic [31:0] lite_wdata_o,
  output      logic [ 3:0] lite_wstrb_o,
  input  wire logic        lite_bvalid_i,
  output      logic        lite_bready_o,
  input  wire logic [ 1:0] lite_bresp_i
);
  typedef enum logic [1:0] {
    StRead,     // waits for a read
    StReadAsk,
    StReadAnswer
  } read_e;

  typedef enum logic [2:0] {
    StWrite,    // waits for a write
    StWriteData,
    StWriteAsk,
    StWriteAnswer,
    StWriteEnd
  } write_e;

  read_e read_q;
  write_e write_q;
  logic [3:0] read_left_q, write_left_q;

  // ---- reads
  assign arready_o      = read_q == StRead;
  assign lite_arvalid_o = read_q == StReadAsk;
  assign rvalid_o       = read_q == StReadAnswer && lite_rvalid_i;
  assign lite_rready_o  = read_q == StReadAnswer && rready_i;
  assign rdata_o        = lite_rdata_i;
  assign rresp_o        = lite_rresp_i;
  assign rlast_o        = read_left_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q <= StRead;
    end else begin
      unique case (read_q)
        StRead:    if (arvalid_i) read_q <= StReadAsk;
        StReadAsk: if (lite_arready_i) read_q <= StReadAnswer;
        default:   if (rvalid_o && rready_i) read_q <= rlast_o ? StRead : StReadAsk;
      endcase
    end
    if (read_q == StRead) begin
      lite_araddr_o <= araddr_i;
      read_left_q   <= arlen_i;
      rid_o         <= arid_i;
    end else if (rvalid_o && rready_i) begin
      lite_araddr_o <= lite_araddr_o + 12'd4;
      read_left_q   <= read_left_q - 4'd1;
    end
  end

  // ---- writes
  logic aw_sent_q, w_sent_q;

  assign awready_o      = write_q == StWrite;
  assign wready_o       = write_q == StWriteData;
  assign lite_awvalid_o = write_q == StWriteAsk && !aw_sent_q;
  assign lite_wvalid_o  = write_q == StWriteAsk && !w_sent_q;
  assign lite_bready_o  = write_q == StWriteAnswer;
  assign bvalid_o       = write_q == StWriteEnd;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= StWrite;
    end else begin
      unique case (write_q)
        StWrite:     if (awvalid_i) write_q <= StWriteData;
        StWriteData: if (wvalid_i) write_q <= StWriteAsk;
        StWriteAsk: begin
          if ((aw_sent_q || lite_awready_i) && (w_sent_q || lite_wready_i)) write_q <= StWriteAnswer;
        end
        StWriteAnswer: if (lite_bvalid_i) write_q <= write_left_q == '0 ? StWriteEnd : StWriteData;
        default:       if (bready_i) write_q <= StWrite;
      endcase
    end
    if (write_q != StWriteAsk) begin
      aw_sent_q <= 1'b0;
      w_sent_q  <= 1'b0;
    end else begin
      if (lite_awready_i) aw_sent_q <= 1'b1;
      if (lite_wready_i) w_sent_q <= 1'b1;
    end
    if (write_q == StWrite) begin
      lite_awaddr_o <= awaddr_i;
      write_left_q  <= awlen_i;
      bid_o         <= awid_i;
      bresp_o       <= 2'b00;
    end else if (lite_bvalid_i && lite_bready_o) begin
      lite_awaddr_o <= lite_awaddr_o + 12'd4;
      write_left_q  <= write_left_q - 4'd1;
      bresp_o       <= bresp_o | lite_bresp_i;
    end
    if (wvalid_i && wready_o) begin
      lite_wdata_o <= wdata_i;
      lite_wstrb_o <= wstrb_i;
    end
  end
endmodule

`default_nettype wire
