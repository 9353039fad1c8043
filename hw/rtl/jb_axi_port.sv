// One AXI3 master for a high-performance port of the processing system: a read port with several clients and a write port with one.
// All transfers are of 8 bytes a beat, incrementing, at most 16 beats, bufferable and cacheable; writes have one ID, reads that of their
// client. Timing and rules: jb_axi_read_port, jb_axi_write_port.
`default_nettype none

module jb_axi_port #(
  parameter int Clients    = 1,  // that read
  parameter int WriteDepth = 64  // beats that wait to be written
) (
  input  wire logic                  clk_i,
  input  wire logic                  rst_ni,
  input  wire logic                  halt_i,           // ask for nothing more
  output      logic                  idle_o,           // nothing is under way
  // reads, per client
  input  wire logic [Clients-1:0]    read_valid_i,
  output      logic [Clients-1:0]    read_ready_o,
  input  wire logic [32*Clients-1:0] read_address_i,
  input  wire logic [5*Clients-1:0]  read_beats_i,
  output      logic [Clients-1:0]    data_valid_o,     // a beat for this client, taken at once
  output      logic [63:0]           data_o,
  output      logic                  read_error_o,     // it came with an error
  output      logic                  read_beat_o,
  // writes: bursts, and their data
  input  wire logic                  write_valid_i,
  output      logic                  write_ready_o,
  input  wire logic [31:0]           write_address_i,
  input  wire logic [ 4:0]           write_beats_i,
  input  wire logic                  write_upper_i,    // half beats
  input  wire logic                  write_lower_i,
  input  wire logic                  data_valid_i,
  output      logic                  data_ready_o,
  input  wire logic [63:0]           data_i,
  output      logic                  write_idle_o,     // all responses are there
  output      logic                  write_error_o,    // one was an error
  output      logic                  write_beat_o,
  output      logic                  write_starved_o,  // a burst waits for data
  // AXI3
  output      logic [ 5:0]           arid_o,
  output      logic [31:0]           araddr_o,
  output      logic [ 3:0]           arlen_o,
  output      logic [ 2:0]           arsize_o,
  output      logic [ 1:0]           arburst_o,
  output      logic [ 1:0]           arlock_o,
  output      logic [ 3:0]           arcache_o,
  output      logic [ 2:0]           arprot_o,
  output      logic [ 3:0]           arqos_o,
  output      logic                  arvalid_o,
  input  wire logic                  arready_i,
  input  wire logic [ 5:0]           rid_i,
  input  wire logic [63:0]           rdata_i,
  input  wire logic [ 1:0]           rresp_i,
  input  wire logic                  rlast_i,
  input  wire logic                  rvalid_i,
  output      logic                  rready_o,
  output      logic [ 5:0]           awid_o,
  output      logic [31:0]           awaddr_o,
  output      logic [ 3:0]           awlen_o,
  output      logic [ 2:0]           awsize_o,
  output      logic [ 1:0]           awburst_o,
  output      logic [ 1:0]           awlock_o,
  output      logic [ 3:0]           awcache_o,
  output      logic [ 2:0]           awprot_o,
  output      logic [ 3:0]           awqos_o,
  output      logic                  awvalid_o,
  input  wire logic                  awready_i,
  output      logic [ 5:0]           wid_o,
  output      logic [63:0]           wdata_o,
  output      logic [ 7:0]           wstrb_o,
  output      logic                  wlast_o,
  output      logic                  wvalid_o,
  input  wire logic                  wready_i,
  input  wire logic [ 5:0]           bid_i,
  input  wire logic [ 1:0]           bresp_i,
  input  wire logic                  bvalid_i,
  output      logic                  bready_o
);
  localparam logic [2:0] Size = 3'd3;        // 8 bytes
  localparam logic [1:0] Increment = 2'b01;
  localparam logic [3:0] Cache = 4'b0011;    // bufferable, cacheable

  logic read_idle;

  assign arsize_o  = Size;
  assign arburst_o = Increment;
  assign arlock_o  = '0;
  assign arcache_o = Cache;
  assign arprot_o  = '0;
  assign arqos_o   = '0;
  assign awid_o    = '0;
  assign awsize_o  = Size;
  assign awburst_o = Increment;
  assign awlock_o  = '0;
  assign awcache_o = Cache;
  assign awprot_o  = '0;
  assign awqos_o   = '0;
  assign wid_o     = '0;
  assign idle_o    = read_idle && write_idle_o;

  jb_axi_read_port #(
    .Clients(Clients)
  ) u_read (
    .clk_i,
    .rst_ni,
    .halt_i,
    .idle_o         (read_idle),
    .burst_valid_i  (read_valid_i),
    .burst_ready_o  (read_ready_o),
    .burst_address_i(read_address_i),
    .burst_beats_i  (read_beats_i),
    .data_valid_o,
    .data_o,
    .error_o        (read_error_o),
    .beat_o         (read_beat_o),
    .arvalid_o,
    .arready_i,
    .araddr_o,
    .arlen_o,
    .arid_o,
    .rvalid_i,
    .rready_o,
    .rdata_i,
    .rresp_i,
    .rlast_i,
    .rid_i
  );

  jb_axi_write_port #(
    .Depth(WriteDepth)
  ) u_write (
    .clk_i,
    .rst_ni,
    .halt_i,
    .idle_o         (write_idle_o),
    .error_o        (write_error_o),
    .beat_o         (write_beat_o),
    .starved_o      (write_starved_o),
    .burst_valid_i  (write_valid_i),
    .burst_ready_o  (write_ready_o),
    .burst_address_i(write_address_i),
    .burst_beats_i  (write_beats_i),
    .burst_upper_i  (write_upper_i),
    .burst_lower_i  (write_lower_i),
    .data_valid_i,
    .data_ready_o,
    .data_i,
    .awvalid_o,
    .awready_i,
    .awaddr_o,
    .awlen_o,
    .wvalid_o,
    .wready_i,
    .wdata_o,
    .wstrb_o,
    .wlast_o,
    .bvalid_i,
    .bready_o,
    .bresp_i
  );

  logic unused;
  assign unused = ^bid_i;
endmodule

`default_nettype wire
