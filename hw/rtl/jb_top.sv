// The accelerator: AXI4-Lite registers, two AXI3 masters for the high-performance ports of the processing system, and the
// core between them. Port 0: features x and results. Port 1: gradients dz, weights, masks, descriptors and result blocks.
//
// Bus signals bear the names that tools and test benches know.
`default_nettype none

module jb_top #(
  parameter int Config  = 0,           // number of a named configuration: jb_pkg::CONFIG_*
  parameter int ClockHz = 100_000_000  // of clk_i, as built
) (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  output      logic        irq_o,
  // registers
  input  wire logic [11:0] s_axi_awaddr,
  input  wire logic [ 2:0] s_axi_awprot,
  input  wire logic        s_axi_awvalid,
  output      logic        s_axi_awready,
  input  wire logic [31:0] s_axi_wdata,
  input  wire logic [ 3:0] s_axi_wstrb,
  input  wire logic        s_axi_wvalid,
  output      logic        s_axi_wready,
  output      logic [ 1:0] s_axi_bresp,
  output      logic        s_axi_bvalid,
  input  wire logic        s_axi_bready,
  input  wire logic [11:0] s_axi_araddr,
  input  wire logic [ 2:0] s_axi_arprot,
  input  wire logic        s_axi_arvalid,
  output      logic        s_axi_arready,
  output      logic [31:0] s_axi_rdata,
  output      logic [ 1:0] s_axi_rresp,
  output      logic        s_axi_rvalid,
  input  wire logic        s_axi_rready,
  // port 0
  output      logic [ 5:0] m_axi_hp0_arid,
  output      logic [31:0] m_axi_hp0_araddr,
  output      logic [ 3:0] m_axi_hp0_arlen,
  output      logic [ 2:0] m_axi_hp0_arsize,
  output      logic [ 1:0] m_axi_hp0_arburst,
  output      logic [ 1:0] m_axi_hp0_arlock,
  output      logic [ 3:0] m_axi_hp0_arcache,
  output      logic [ 2:0] m_axi_hp0_arprot,
  output      logic [ 3:0] m_axi_hp0_arqos,
  output      logic        m_axi_hp0_arvalid,
  input  wire logic        m_axi_hp0_arready,
  input  wire logic [ 5:0] m_axi_hp0_rid,
  input  wire logic [63:0] m_axi_hp0_rdata,
  input  wire logic [ 1:0] m_axi_hp0_rresp,
  input  wire logic        m_axi_hp0_rlast,
  input  wire logic        m_axi_hp0_rvalid,
  output      logic        m_axi_hp0_rready,
  output      logic [ 5:0] m_axi_hp0_awid,
  output      logic [31:0] m_axi_hp0_awaddr,
  output      logic [ 3:0] m_axi_hp0_awlen,
  output      logic [ 2:0] m_axi_hp0_awsize,
  output      logic [ 1:0] m_axi_hp0_awburst,
  output      logic [ 1:0] m_axi_hp0_awlock,
  output      logic [ 3:0] m_axi_hp0_awcache,
  output      logic [ 2:0] m_axi_hp0_awprot,
  output      logic [ 3:0] m_axi_hp0_awqos,
  output      logic        m_axi_hp0_awvalid,
  input  wire logic        m_axi_hp0_awready,
  output      logic [ 5:0] m_axi_hp0_wid,
  output      logic [63:0] m_axi_hp0_wdata,
  output      logic [ 7:0] m_axi_hp0_wstrb,
  output      logic        m_axi_hp0_wlast,
  output      logic        m_axi_hp0_wvalid,
  input  wire logic        m_axi_hp0_wready,
  input  wire logic [ 5:0] m_axi_hp0_bid,
  input  wire logic [ 1:0] m_axi_hp0_bresp,
  input  wire logic        m_axi_hp0_bvalid,
  output      logic        m_axi_hp0_bready,
  // port 1
  output      logic [ 5:0] m_axi_hp1_arid,
  output      logic [31:0] m_axi_hp1_araddr,
  output      logic [ 3:0] m_axi_hp1_arlen,
  output      logic [ 2:0] m_axi_hp1_arsize,
  output      logic [ 1:0] m_axi_hp1_arburst,
  output      logic [ 1:0] m_axi_hp1_arlock,
  output      logic [ 3:0] m_axi_hp1_arcache,
  output      logic [ 2:0] m_axi_hp1_arprot,
  output      logic [ 3:0] m_axi_hp1_arqos,
  output      logic        m_axi_hp1_arvalid,
  input  wire logic        m_axi_hp1_arready,
  input  wire logic [ 5:0] m_axi_hp1_rid,
  input  wire logic [63:0] m_axi_hp1_rdata,
  input  wire logic [ 1:0] m_axi_hp1_rresp,
  input  wire logic        m_axi_hp1_rlast,
  input  wire logic        m_axi_hp1_rvalid,
  output      logic        m_axi_hp1_rready,
  output      logic [ 5:0] m_axi_hp1_awid,
  output      logic [31:0] m_axi_hp1_awaddr,
  output      logic [ 3:0] m_axi_hp1_awlen,
  output      logic [ 2:0] m_axi_hp1_awsize,
  output      logic [ 1:0] m_axi_hp1_awburst,
  output      logic [ 1:0] m_axi_hp1_awlock,
  output      logic [ 3:0] m_axi_hp1_awcache,
  output      logic [ 2:0] m_axi_hp1_awprot,
  output      logic [ 3:0] m_axi_hp1_awqos,
  output      logic        m_axi_hp1_awvalid,
  input  wire logic        m_axi_hp1_awready,
  output      logic [ 5:0] m_axi_hp1_wid,
  output      logic [63:0] m_axi_hp1_wdata,
  output      logic [ 7:0] m_axi_hp1_wstrb,
  output      logic        m_axi_hp1_wlast,
  output      logic        m_axi_hp1_wvalid,
  input  wire logic        m_axi_hp1_wready,
  input  wire logic [ 5:0] m_axi_hp1_bid,
  input  wire logic [ 1:0] m_axi_hp1_bresp,
  input  wire logic        m_axi_hp1_bvalid,
  output      logic        m_axi_hp1_bready
);
  localparam int Clients1 = 4;
  localparam int ClientG = 0;
  localparam int ClientWeights = 1;
  localparam int ClientMask = 2;
  localparam int ClientDescriptor = 3;
  localparam bit NarrowLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32] < 8;

  // What never changes on the buses: 8 bytes a beat, incrementing, bufferable and cacheable, one ID for writes.
  assign m_axi_hp0_arsize  = 3'd3;
  assign m_axi_hp0_arburst = 2'b01;
  assign m_axi_hp0_arlock  = 2'b00;
  assign m_axi_hp0_arcache = 4'b0011;
  assign m_axi_hp0_arprot  = 3'b000;
  assign m_axi_hp0_arqos   = 4'b0000;
  assign m_axi_hp0_awid    = 6'd0;
  assign m_axi_hp0_awsize  = 3'd3;
  assign m_axi_hp0_awburst = 2'b01;
  assign m_axi_hp0_awlock  = 2'b00;
  assign m_axi_hp0_awcache = 4'b0011;
  assign m_axi_hp0_awprot  = 3'b000;
  assign m_axi_hp0_awqos   = 4'b0000;
  assign m_axi_hp0_wid     = 6'd0;
  assign m_axi_hp1_arsize  = 3'd3;
  assign m_axi_hp1_arburst = 2'b01;
  assign m_axi_hp1_arlock  = 2'b00;
  assign m_axi_hp1_arcache = 4'b0011;
  assign m_axi_hp1_arprot  = 3'b000;
  assign m_axi_hp1_arqos   = 4'b0000;
  assign m_axi_hp1_awid    = 6'd0;
  assign m_axi_hp1_awsize  = 3'd3;
  assign m_axi_hp1_awburst = 2'b01;
  assign m_axi_hp1_awlock  = 2'b00;
  assign m_axi_hp1_awcache = 4'b0011;
  assign m_axi_hp1_awprot  = 3'b000;
  assign m_axi_hp1_awqos   = 4'b0000;
  assign m_axi_hp1_wid     = 6'd0;

  // ---- control
  logic start, reset_request, busy, fetch, halt, run_n, finish, interrupt, fail;
  logic [31:0] desc_address, fail_error;
  logic [15:0] desc_count, fail_index, desc_done;
  logic idle0_read, idle0_write, idle1_read, idle1_write;
  logic beat0_read, beat0_write, beat1_read, beat1_write;
  logic error0_read, error0_write, error1_read, error1_write;
  logic load_error_q, stream_error_q, write_error_q;
  logic stall_read, stall_write;

  logic tile_done, list_done, tile_fail;
  logic [31:0] tile_fail_error;
  logic [15:0] tile_fail_index;
  logic count_tile, counting, count_forward, count_gradient;
  logic [47:0] macs_4x10;

  logic done_valid, done_ready;
  logic [63:0] done_peak, done_macs, done_macs_gated;
  logic [31:0] done_saturated, done_decided, done_undecided, done_compute_cycles, done_stall_cycles;

  jb_registers #(
    .Config (Config),
    .ClockHz(ClockHz)
  ) u_registers (
    .clk_i,
    .rst_ni,
    .awvalid_i          (s_axi_awvalid),
    .awready_o          (s_axi_awready),
    .awaddr_i           (s_axi_awaddr),
    .wvalid_i           (s_axi_wvalid),
    .wready_o           (s_axi_wready),
    .wdata_i            (s_axi_wdata),
    .wstrb_i            (s_axi_wstrb),
    .bvalid_o           (s_axi_bvalid),
    .bready_i           (s_axi_bready),
    .bresp_o            (s_axi_bresp),
    .arvalid_i          (s_axi_arvalid),
    .arready_o          (s_axi_arready),
    .araddr_i           (s_axi_araddr),
    .rvalid_o           (s_axi_rvalid),
    .rready_i           (s_axi_rready),
    .rdata_o            (s_axi_rdata),
    .rresp_o            (s_axi_rresp),
    .irq_o,
    .start_o            (start),
    .reset_o            (reset_request),
    .desc_address_o     (desc_address),
    .desc_count_o       (desc_count),
    .busy_i             (busy),
    .finish_i           (finish),
    .interrupt_i        (interrupt),
    .fail_i             (fail),
    .fail_error_i       (fail_error),
    .fail_index_i       (fail_index),
    .desc_done_i        (desc_done),
    .count_stall_read_i (stall_read),
    .count_stall_write_i(stall_write),
    .count_read_i       ({beat1_read, beat0_read}),
    .count_write_i      ({beat1_write, beat0_write}),
    .count_tile_i       (count_tile),
    .counting_o         (counting),
    .forward_i          (count_forward),
    .gradient_i         (count_gradient),
    .compute_cycles_i   (done_compute_cycles),
    .macs_i             (done_macs),
    .macs_4x10_i        (macs_4x10),
    .macs_gated_i       (done_macs_gated),
    .decided_i          (done_decided),
    .undecided_i        (done_undecided)
  );

  jb_run_control u_control (
    .clk_i,
    .rst_ni,
    .start_i       (start),
    .reset_i       (reset_request),
    .desc_address_i(desc_address),
    .desc_count_i  (desc_count),
    .idle_i        (idle0_read && idle0_write && idle1_read && idle1_write && !counting),
    .done_i        (tile_done),
    .list_done_i   (list_done),
    .fail_i        (tile_fail),
    .fail_error_i  (tile_fail_error),
    .fail_index_i  (tile_fail_index),
    .busy_o        (busy),
    .fetch_o       (fetch),
    .halt_o        (halt),
    .run_no        (run_n),
    .finish_o      (finish),
    .fail_o        (fail),
    .fail_error_o  (fail_error),
    .fail_index_o  (fail_index),
    .desc_done_o   (desc_done)
  );

  // ---- ports
  logic x_burst_valid, x_burst_ready;
  logic [31:0] x_burst_address;
  logic [4:0] x_burst_beats;
  logic x_data_valid;
  logic [63:0] port0_data;

  jb_axi_read_port #(
    .Clients(1)
  ) u_read0 (
    .clk_i,
    .rst_ni         (run_n),
    .halt_i         (halt),
    .idle_o         (idle0_read),
    .burst_valid_i  (x_burst_valid),
    .burst_ready_o  (x_burst_ready),
    .burst_address_i(x_burst_address),
    .burst_beats_i  (x_burst_beats),
    .data_valid_o   (x_data_valid),
    .data_o         (port0_data),
    .error_o        (error0_read),
    .beat_o         (beat0_read),
    .arvalid_o      (m_axi_hp0_arvalid),
    .arready_i      (m_axi_hp0_arready),
    .araddr_o       (m_axi_hp0_araddr),
    .arlen_o        (m_axi_hp0_arlen),
    .arid_o         (m_axi_hp0_arid),
    .rvalid_i       (m_axi_hp0_rvalid),
    .rready_o       (m_axi_hp0_rready),
    .rdata_i        (m_axi_hp0_rdata),
    .rresp_i        (m_axi_hp0_rresp),
    .rlast_i        (m_axi_hp0_rlast),
    .rid_i          (m_axi_hp0_rid)
  );

  logic [Clients1-1:0] burst1_valid, burst1_ready, data1_valid;
  logic [32*Clients1-1:0] burst1_address;
  logic [5*Clients1-1:0] burst1_beats;
  logic [63:0] port1_data;

  jb_axi_read_port #(
    .Clients(Clients1)
  ) u_read1 (
    .clk_i,
    .rst_ni         (run_n),
    .halt_i         (halt),
    .idle_o         (idle1_read),
    .burst_valid_i  (burst1_valid),
    .burst_ready_o  (burst1_ready),
    .burst_address_i(burst1_address),
    .burst_beats_i  (burst1_beats),
    .data_valid_o   (data1_valid),
    .data_o         (port1_data),
    .error_o        (error1_read),
    .beat_o         (beat1_read),
    .arvalid_o      (m_axi_hp1_arvalid),
    .arready_i      (m_axi_hp1_arready),
    .araddr_o       (m_axi_hp1_araddr),
    .arlen_o        (m_axi_hp1_arlen),
    .arid_o         (m_axi_hp1_arid),
    .rvalid_i       (m_axi_hp1_rvalid),
    .rready_o       (m_axi_hp1_rready),
    .rdata_i        (m_axi_hp1_rdata),
    .rresp_i        (m_axi_hp1_rresp),
    .rlast_i        (m_axi_hp1_rlast),
    .rid_i          (m_axi_hp1_rid)
  );

  logic r_burst_valid, r_burst_ready, r_burst_upper, r_burst_lower, starved0;
  logic [31:0] r_burst_address;
  logic [4:0] r_burst_beats;
  logic o_valid, o_ready, o_last, o_accept, o_port_ready;
  logic [63:0] o_data;

  jb_axi_write_port u_write0 (
    .clk_i,
    .rst_ni         (run_n),
    .halt_i         (halt),
    .idle_o         (idle0_write),
    .error_o        (error0_write),
    .beat_o         (beat0_write),
    .starved_o      (starved0),
    .burst_valid_i  (r_burst_valid),
    .burst_ready_o  (r_burst_ready),
    .burst_address_i(r_burst_address),
    .burst_beats_i  (r_burst_beats),
    .burst_upper_i  (r_burst_upper),
    .burst_lower_i  (r_burst_lower),
    .data_valid_i   (o_valid && o_accept),
    .data_ready_o   (o_port_ready),
    .data_i         (o_data),
    .awvalid_o      (m_axi_hp0_awvalid),
    .awready_i      (m_axi_hp0_awready),
    .awaddr_o       (m_axi_hp0_awaddr),
    .awlen_o        (m_axi_hp0_awlen),
    .wvalid_o       (m_axi_hp0_wvalid),
    .wready_i       (m_axi_hp0_wready),
    .wdata_o        (m_axi_hp0_wdata),
    .wstrb_o        (m_axi_hp0_wstrb),
    .wlast_o        (m_axi_hp0_wlast),
    .bvalid_i       (m_axi_hp0_bvalid),
    .bready_o       (m_axi_hp0_bready),
    .bresp_i        (m_axi_hp0_bresp)
  );
  assign o_ready = o_port_ready && o_accept;

  logic b_burst_valid, b_burst_ready, b_data_valid, b_data_ready, starved1_unused;
  logic [31:0] b_burst_address;
  logic [4:0] b_burst_beats;
  logic [63:0] b_data;

  jb_axi_write_port #(
    .Depth(32)
  ) u_write1 (
    .clk_i,
    .rst_ni         (run_n),
    .halt_i         (halt),
    .idle_o         (idle1_write),
    .error_o        (error1_write),
    .beat_o         (beat1_write),
    .starved_o      (starved1_unused),
    .burst_valid_i  (b_burst_valid),
    .burst_ready_o  (b_burst_ready),
    .burst_address_i(b_burst_address),
    .burst_beats_i  (b_burst_beats),
    .burst_upper_i  (1'b0),
    .burst_lower_i  (1'b0),
    .data_valid_i   (b_data_valid),
    .data_ready_o   (b_data_ready),
    .data_i         (b_data),
    .awvalid_o      (m_axi_hp1_awvalid),
    .awready_i      (m_axi_hp1_awready),
    .awaddr_o       (m_axi_hp1_awaddr),
    .awlen_o        (m_axi_hp1_awlen),
    .wvalid_o       (m_axi_hp1_wvalid),
    .wready_i       (m_axi_hp1_wready),
    .wdata_o        (m_axi_hp1_wdata),
    .wstrb_o        (m_axi_hp1_wstrb),
    .wlast_o        (m_axi_hp1_wlast),
    .bvalid_i       (m_axi_hp1_bvalid),
    .bready_o       (m_axi_hp1_bready),
    .bresp_i        (m_axi_hp1_bresp)
  );

  // Errors of data; a descriptor that came with one is wrong by itself.
  always_ff @(posedge clk_i) begin
    if (!run_n) begin
      load_error_q   <= 1'b0;
      stream_error_q <= 1'b0;
      write_error_q  <= 1'b0;
    end else begin
      if (error0_read || (error1_read && data1_valid[ClientG])) load_error_q <= 1'b1;
      if (error1_read && !data1_valid[ClientG] && !data1_valid[ClientDescriptor]) stream_error_q <= 1'b1;
      if (error0_write || error1_write) write_error_q <= 1'b1;
    end
  end

  // ---- descriptors
  logic fetch_busy_unused, fetched_valid, fetched_ready, sum_good, fetch_error, fetched_last;
  logic [1023:0] fetched;
  logic [15:0] fetched_index;
  logic stopped;

  jb_descriptor_fetch u_fetch (
    .clk_i,
    .rst_ni         (run_n),
    .start_i        (fetch),
    .address_i      (desc_address),
    .count_i        (desc_count),
    .stop_i         (stopped),
    .busy_o         (fetch_busy_unused),
    .burst_valid_o  (burst1_valid[ClientDescriptor]),
    .burst_ready_i  (burst1_ready[ClientDescriptor]),
    .burst_address_o(burst1_address[32*ClientDescriptor+:32]),
    .burst_beats_o  (burst1_beats[5*ClientDescriptor+:5]),
    .data_valid_i   (data1_valid[ClientDescriptor]),
    .data_i         (port1_data),
    .data_error_i   (error1_read),
    .valid_o        (fetched_valid),
    .ready_i        (fetched_ready),
    .descriptor_o   (fetched),
    .sum_good_o     (sum_good),
    .bus_error_o    (fetch_error),
    .index_o        (fetched_index),
    .last_o         (fetched_last)
  );

  logic checked_valid, checked_ready, checked_trusted;
  logic [31:0] checked_error;
  logic [28:0] checked_x_row, checked_g_row, checked_dw;
  logic [47:0] checked_macs;

  jb_descriptor_check #(
    .Config(Config)
  ) u_check (
    .clk_i,
    .rst_ni       (run_n),
    .valid_i      (fetched_valid),
    .ready_o      (fetched_ready),
    .descriptor_i (fetched),
    .sum_good_i   (sum_good),
    .bus_error_i  (fetch_error),
    .valid_o      (checked_valid),
    .ready_i      (checked_ready),
    .error_o      (checked_error),
    .trusted_o    (checked_trusted),
    .x_row_words_o(checked_x_row),
    .g_row_words_o(checked_g_row),
    .dw_words_o   (checked_dw),
    .macs_4x10_o  (checked_macs)
  );

  // ---- the tile that is loaded next
  logic [1023:0] tile;
  logic tile_valid, tile_ready, tile_half, loading;
  logic [28:0] x_row_words, g_row_words, dw_words;
  logic x_valid, x_ready, x_busy, g_valid, g_ready, g_busy, w_request_valid, w_request_ready, m_request_valid, m_request_ready;
  logic masks, release_valid, release_half;
  logic finish_valid, finish_ready, finish_trusted, finish_last;
  logic [31:0] finish_error, finish_start, time_now;
  logic [15:0] finish_index;
  logic [47:0] finish_macs;

  jb_tile_queue u_queue (
    .clk_i,
    .rst_ni            (run_n),
    .load_error_i      (load_error_q),
    .stream_error_i    (stream_error_q),
    .valid_i           (checked_valid),
    .ready_o           (checked_ready),
    .descriptor_i      (fetched),
    .error_i           (checked_error),
    .trusted_i         (checked_trusted),
    .last_i            (fetched_last),
    .index_i           (fetched_index),
    .x_row_words_i     (checked_x_row),
    .g_row_words_i     (checked_g_row),
    .dw_words_i        (checked_dw),
    .macs_4x10_i       (checked_macs),
    .descriptor_o      (tile),
    .half_o            (tile_half),
    .x_row_words_o     (x_row_words),
    .g_row_words_o     (g_row_words),
    .dw_words_o        (dw_words),
    .x_valid_o         (x_valid),
    .x_ready_i         (x_ready),
    .x_busy_i          (x_busy),
    .g_valid_o         (g_valid),
    .g_ready_i         (g_ready),
    .g_busy_i          (g_busy),
    .w_valid_o         (w_request_valid),
    .w_ready_i         (w_request_ready),
    .m_valid_o         (m_request_valid),
    .m_ready_i         (m_request_ready),
    .masks_i           (masks),
    .tile_valid_o      (tile_valid),
    .tile_ready_i      (tile_ready),
    .release_valid_i   (release_valid),
    .release_half_i    (release_half),
    .loading_o         (loading),
    .stopped_o         (stopped),
    .finish_valid_o    (finish_valid),
    .finish_ready_i    (finish_ready),
    .finish_error_o    (finish_error),
    .finish_trusted_o  (finish_trusted),
    .finish_last_o     (finish_last),
    .finish_index_o    (finish_index),
    .finish_macs_4x10_o(finish_macs),
    .finish_start_o    (finish_start),
    .time_o            (time_now)
  );

  // ---- features
  logic load_x_valid, load_x_half, load_g_valid, load_g_half;
  logic [15:0] load_x_image, load_x_row, load_x_column, load_x_word, load_g_image, load_g_row, load_g_column, load_g_word;
  logic [63:0] load_x_data, load_g_data;

  jb_loader u_load_x (
    .clk_i,
    .rst_ni         (run_n),
    .valid_i        (x_valid),
    .ready_o        (x_ready),
    .busy_o         (x_busy),
    .half_i         (tile_half),
    .address_i      (tile[jb_pkg::X_ADDRESS_LSB+:32]),
    .row_stride_i   (tile[jb_pkg::X_ROW_STRIDE_LSB+:32]),
    .image_stride_i (tile[jb_pkg::X_IMAGE_STRIDE_LSB+:32]),
    .pixel_stride_i (tile[jb_pkg::X_PIXEL_STRIDE_LSB+:32]),
    .images_i       (tile[jb_pkg::IMAGES_LSB+:16]),
    .rows_i         (tile[jb_pkg::X_ROWS_LSB+:16]),
    .columns_i      (tile[jb_pkg::X_COLUMNS_LSB+:16]),
    .words_i        (tile[jb_pkg::X_WORDS_LSB+:16]),
    .row_words_i    (x_row_words),
    .burst_valid_o  (x_burst_valid),
    .burst_ready_i  (x_burst_ready),
    .burst_address_o(x_burst_address),
    .burst_beats_o  (x_burst_beats),
    .data_valid_i   (x_data_valid),
    .data_i         (port0_data),
    .load_valid_o   (load_x_valid),
    .load_half_o    (load_x_half),
    .load_image_o   (load_x_image),
    .load_row_o     (load_x_row),
    .load_column_o  (load_x_column),
    .load_word_o    (load_x_word),
    .load_data_o    (load_x_data)
  );

  jb_loader u_load_g (
    .clk_i,
    .rst_ni         (run_n),
    .valid_i        (g_valid),
    .ready_o        (g_ready),
    .busy_o         (g_busy),
    .half_i         (tile_half),
    .address_i      (tile[jb_pkg::G_ADDRESS_LSB+:32]),
    .row_stride_i   (tile[jb_pkg::G_ROW_STRIDE_LSB+:32]),
    .image_stride_i (tile[jb_pkg::G_IMAGE_STRIDE_LSB+:32]),
    .pixel_stride_i (tile[jb_pkg::G_PIXEL_STRIDE_LSB+:32]),
    .images_i       (tile[jb_pkg::IMAGES_LSB+:16]),
    .rows_i         (tile[jb_pkg::G_ROWS_LSB+:16]),
    .columns_i      (tile[jb_pkg::G_COLUMNS_LSB+:16]),
    .words_i        (tile[jb_pkg::G_WORDS_LSB+:16]),
    .row_words_i    (g_row_words),
    .burst_valid_o  (burst1_valid[ClientG]),
    .burst_ready_i  (burst1_ready[ClientG]),
    .burst_address_o(burst1_address[32*ClientG+:32]),
    .burst_beats_o  (burst1_beats[5*ClientG+:5]),
    .data_valid_i   (data1_valid[ClientG]),
    .data_i         (port1_data),
    .load_valid_o   (load_g_valid),
    .load_half_o    (load_g_half),
    .load_image_o   (load_g_image),
    .load_row_o     (load_g_row),
    .load_column_o  (load_g_column),
    .load_word_o    (load_g_word),
    .load_data_o    (load_g_data)
  );

  // ---- weights and masks
  logic w_valid, w_ready, m_valid, m_ready, w_idle_unused, m_idle_unused;
  logic [63:0] w_data, m_data;
  logic [15:0] blocks, images, rows;
  logic [31:0] mask_address, mask_block_stride, mask_image_stride, mask_row_stride, mask_chunk_stride;
  logic [15:0] mask_chunks;
  logic [28:0] mask_beats, mask_last_beats;
  logic stores_unused, half_unused, last_half_unused;
  logic [31:0] address_unused, block_stride_unused, image_stride_unused, row_stride_unused, chunk_stride_unused;
  logic [15:0] chunks_unused;
  logic [28:0] beats_unused, last_beats_unused;

  jb_dma_stream #(
    .Depth(512)
  ) u_weights (
    .clk_i,
    .rst_ni         (run_n),
    .request_valid_i(w_request_valid),
    .request_ready_o(w_request_ready),
    .address_i      (tile[jb_pkg::W_ADDRESS_LSB+:32]),
    .blocks_i       (16'd1),
    .images_i       (16'd1),
    .rows_i         (16'd1),
    .chunks_i       (16'd1),
    .block_stride_i ('0),
    .image_stride_i ('0),
    .row_stride_i   ('0),
    .chunk_stride_i ('0),
    .beats_i        (tile[jb_pkg::W_BYTES_LSB+3+:29]),
    .last_beats_i   (tile[jb_pkg::W_BYTES_LSB+3+:29]),
    .burst_valid_o  (burst1_valid[ClientWeights]),
    .burst_ready_i  (burst1_ready[ClientWeights]),
    .burst_address_o(burst1_address[32*ClientWeights+:32]),
    .burst_beats_o  (burst1_beats[5*ClientWeights+:5]),
    .data_valid_i   (data1_valid[ClientWeights]),
    .data_i         (port1_data),
    .valid_o        (w_valid),
    .ready_i        (w_ready),
    .data_o         (w_data),
    .idle_o         (w_idle_unused)
  );

  jb_dma_result #(
    .Config(Config)
  ) u_masks (
    .clk_i,
    .descriptor_i       (tile),
    .x_row_words_i      (x_row_words),
    .g_row_words_i      (g_row_words),
    .dw_words_i         (dw_words),
    .stores_o           (stores_unused),
    .address_o          (address_unused),
    .blocks_o           (blocks),
    .images_o           (images),
    .rows_o             (rows),
    .chunks_o           (chunks_unused),
    .block_stride_o     (block_stride_unused),
    .image_stride_o     (image_stride_unused),
    .row_stride_o       (row_stride_unused),
    .chunk_stride_o     (chunk_stride_unused),
    .beats_o            (beats_unused),
    .last_beats_o       (last_beats_unused),
    .half_o             (half_unused),
    .last_half_o        (last_half_unused),
    .masks_o            (masks),
    .mask_address_o     (mask_address),
    .mask_chunks_o      (mask_chunks),
    .mask_block_stride_o(mask_block_stride),
    .mask_image_stride_o(mask_image_stride),
    .mask_row_stride_o  (mask_row_stride),
    .mask_chunk_stride_o(mask_chunk_stride),
    .mask_beats_o       (mask_beats),
    .mask_last_beats_o  (mask_last_beats)
  );

  jb_dma_stream #(
    .Depth (64),
    .Block (1'b0),
    .Halves(NarrowLanes)
  ) u_mask (
    .clk_i,
    .rst_ni         (run_n),
    .request_valid_i(m_request_valid),
    .request_ready_o(m_request_ready),
    .address_i      (mask_address),
    .blocks_i       (blocks),
    .images_i       (images),
    .rows_i         (rows),
    .chunks_i       (mask_chunks),
    .block_stride_i (mask_block_stride),
    .image_stride_i (mask_image_stride),
    .row_stride_i   (mask_row_stride),
    .chunk_stride_i (mask_chunk_stride),
    .beats_i        (mask_beats),
    .last_beats_i   (mask_last_beats),
    .burst_valid_o  (burst1_valid[ClientMask]),
    .burst_ready_i  (burst1_ready[ClientMask]),
    .burst_address_o(burst1_address[32*ClientMask+:32]),
    .burst_beats_o  (burst1_beats[5*ClientMask+:5]),
    .data_valid_i   (data1_valid[ClientMask]),
    .data_i         (port1_data),
    .valid_o        (m_valid),
    .ready_i        (m_ready),
    .data_o         (m_data),
    .idle_o         (m_idle_unused)
  );

  // ---- the core
  jb_core #(
    .Config(Config)
  ) u_core (
    .clk_i,
    .rst_ni               (run_n),
    .tile_valid_i         (tile_valid),
    .tile_ready_o         (tile_ready),
    .tile_i               (tile),
    .tile_half_i          (tile_half),
    .load_x_valid_i       (load_x_valid),
    .load_x_half_i        (load_x_half),
    .load_x_image_i       (load_x_image),
    .load_x_row_i         (load_x_row),
    .load_x_column_i      (load_x_column),
    .load_x_word_i        (load_x_word),
    .load_x_data_i        (load_x_data),
    .load_x_rows_i        (tile[jb_pkg::X_ROWS_LSB+:16]),
    .load_x_columns_i     (tile[jb_pkg::X_COLUMNS_LSB+:16]),
    .load_x_words_i       (tile[jb_pkg::X_WORDS_LSB+:16]),
    .load_g_valid_i       (load_g_valid),
    .load_g_half_i        (load_g_half),
    .load_g_image_i       (load_g_image),
    .load_g_row_i         (load_g_row),
    .load_g_column_i      (load_g_column),
    .load_g_word_i        (load_g_word),
    .load_g_data_i        (load_g_data),
    .load_g_rows_i        (tile[jb_pkg::G_ROWS_LSB+:16]),
    .load_g_columns_i     (tile[jb_pkg::G_COLUMNS_LSB+:16]),
    .load_g_words_i       (tile[jb_pkg::G_WORDS_LSB+:16]),
    .release_valid_o      (release_valid),
    .release_half_o       (release_half),
    .w_valid_i            (w_valid),
    .w_ready_o            (w_ready),
    .w_data_i             (w_data),
    .m_valid_i            (m_valid),
    .m_ready_o            (m_ready),
    .m_data_i             (m_data),
    .o_valid_o            (o_valid),
    .o_ready_i            (o_ready),
    .o_data_o             (o_data),
    .o_last_o             (o_last),
    .done_valid_o         (done_valid),
    .done_ready_i         (done_ready),
    .done_peak_o          (done_peak),
    .done_saturated_o     (done_saturated),
    .done_decided_o       (done_decided),
    .done_undecided_o     (done_undecided),
    .done_compute_cycles_o(done_compute_cycles),
    .done_stall_cycles_o  (done_stall_cycles),
    .done_macs_o          (done_macs),
    .done_macs_gated_o    (done_macs_gated)
  );

  // ---- the end of a tile
  jb_tile_finish #(
    .Config(Config)
  ) u_finish (
    .clk_i,
    .rst_ni               (run_n),
    .valid_i              (finish_valid),
    .ready_o              (finish_ready),
    .descriptor_i         (tile),
    .x_row_words_i        (x_row_words),
    .g_row_words_i        (g_row_words),
    .dw_words_i           (dw_words),
    .error_i              (finish_error),
    .trusted_i            (finish_trusted),
    .last_i               (finish_last),
    .index_i              (finish_index),
    .macs_4x10_i          (finish_macs),
    .start_i              (finish_start),
    .time_i               (time_now),
    .burst_valid_o        (r_burst_valid),
    .burst_ready_i        (r_burst_ready),
    .burst_address_o      (r_burst_address),
    .burst_beats_o        (r_burst_beats),
    .burst_upper_o        (r_burst_upper),
    .burst_lower_o        (r_burst_lower),
    .results_idle_i       (idle0_write),
    .results_starved_i    (starved0),
    .o_accept_o           (o_accept),
    .o_beat_i             (o_valid && o_ready),
    .o_last_i             (o_last),
    .block_burst_valid_o  (b_burst_valid),
    .block_burst_ready_i  (b_burst_ready),
    .block_burst_address_o(b_burst_address),
    .block_burst_beats_o  (b_burst_beats),
    .block_data_valid_o   (b_data_valid),
    .block_data_ready_i   (b_data_ready),
    .block_data_o         (b_data),
    .block_idle_i         (idle1_write),
    .done_valid_i         (done_valid),
    .done_ready_o         (done_ready),
    .done_peak_i          (done_peak),
    .done_saturated_i     (done_saturated),
    .done_decided_i       (done_decided),
    .done_undecided_i     (done_undecided),
    .done_compute_cycles_i(done_compute_cycles),
    .done_stall_cycles_i  (done_stall_cycles),
    .done_macs_i          (done_macs),
    .done_macs_gated_i    (done_macs_gated),
    .read_error_i         (stream_error_q),
    .write_error_i        (write_error_q),
    .count_tile_o         (count_tile),
    .counting_i           (counting),
    .forward_o            (count_forward),
    .gradient_o           (count_gradient),
    .macs_4x10_o          (macs_4x10),
    .interrupt_o          (interrupt),
    .done_o               (tile_done),
    .list_done_o          (list_done),
    .fail_o               (tile_fail),
    .fail_error_o         (tile_fail_error),
    .fail_index_o         (tile_fail_index)
  );

  // Waiting: the core for features, weights or a mask; its results for the port.
  assign stall_read  = busy && ((loading && tile_ready) || (w_ready && !w_valid) || (m_ready && !m_valid));
  assign stall_write = busy && o_valid && !o_ready;

  logic unused;
  assign unused = ^{s_axi_awprot, s_axi_arprot, m_axi_hp0_bid, m_axi_hp1_bid, starved1_unused, fetch_busy_unused, w_idle_unused,
                    m_idle_unused, stores_unused, half_unused, last_half_unused, address_unused, block_stride_unused,
                    image_stride_unused, row_stride_unused, chunk_stride_unused, chunks_unused, beats_unused, last_beats_unused};
endmodule

`default_nettype wire
