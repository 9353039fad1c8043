// From descriptors to results: fetches and checks a list's descriptors (jb_descriptor_*), keeps a tile (jb_tile_queue), brings in what
// it needs (jb_tile_load), computes it (jb_core), and sees to its end (jb_tile_finish). Reads and writes by two ports (jb_axi_port).
// Port 0: x, results. Port 1: dz, weights, masks, descriptors, and result blocks.
`default_nettype none

module jb_engine #(
  parameter int Config = 0
) (
  input  wire logic         clk_i,
  input  wire logic         rst_ni,
  // the list (jb_control)
  input  wire logic         busy_i,
  input  wire logic         fetch_i,
  input  wire logic [31:0]  desc_address_i,
  input  wire logic [15:0]  desc_count_i,
  output      logic         done_o,
  output      logic         list_done_o,
  output      logic         interrupt_o,
  output      logic         fail_o,
  output      logic [31:0]  fail_error_o,
  output      logic [15:0]  fail_index_o,
  // figures
  output      logic         stall_read_o,
  output      logic         stall_write_o,
  output      logic         count_tile_o,
  input  wire logic         counting_i,
  output      logic         forward_o,
  output      logic         gradient_o,
  output      logic [31:0]  compute_cycles_o,
  output      logic [63:0]  macs_o,
  output      logic [47:0]  macs_4x10_o,
  output      logic [63:0]  macs_gated_o,
  output      logic [31:0]  decided_o,
  output      logic [31:0]  undecided_o,
  // port 0
  output      logic         read0_valid_o,
  input  wire logic         read0_ready_i,
  output      logic [31:0]  read0_address_o,
  output      logic [ 4:0]  read0_beats_o,
  input  wire logic         beat0_valid_i,
  input  wire logic [63:0]  beat0_i,
  input  wire logic         read0_error_i,
  output      logic         write0_valid_o,
  input  wire logic         write0_ready_i,
  output      logic [31:0]  write0_address_o,
  output      logic [ 4:0]  write0_beats_o,
  output      logic         write0_upper_o,
  output      logic         write0_lower_o,
  output      logic         data0_valid_o,
  input  wire logic         data0_ready_i,
  output      logic [63:0]  data0_o,
  input  wire logic         write0_idle_i,
  input  wire logic         write0_error_i,
  input  wire logic         write0_starved_i,
  // port 1: reads of jb_tile_load and (the highest) of descriptors
  output      logic [ 3:0]  read1_valid_o,
  input  wire logic [ 3:0]  read1_ready_i,
  output      logic [127:0] read1_address_o,
  output      logic [19:0]  read1_beats_o,
  input  wire logic [ 3:0]  beat1_valid_i,
  input  wire logic [63:0]  beat1_i,
  input  wire logic         read1_error_i,
  output      logic         write1_valid_o,
  input  wire logic         write1_ready_i,
  output      logic [31:0]  write1_address_o,
  output      logic [ 4:0]  write1_beats_o,
  output      logic         data1_valid_o,
  input  wire logic         data1_ready_i,
  output      logic [63:0]  data1_o,
  input  wire logic         write1_idle_i,
  input  wire logic         write1_error_i
);
  localparam int ClientG = 0;  // of port 1
  localparam int ClientDescriptor = 3;

  // ---- descriptors
  logic fetch_busy_unused, fetched_valid, fetched_ready, sum_good, fetch_error, fetched_last;
  logic [1023:0] fetched;
  logic [15:0] fetched_index;
  logic stopped;

  logic load_error_q, stream_error_q, write_error_q;

  jb_descriptor_fetch u_fetch (
    .clk_i,
    .rst_ni,
    .start_i        (fetch_i),
    .address_i      (desc_address_i),
    .count_i        (desc_count_i),
    .stop_i         (stopped),
    .busy_o         (fetch_busy_unused),
    .burst_valid_o  (read1_valid_o[ClientDescriptor]),
    .burst_ready_i  (read1_ready_i[ClientDescriptor]),
    .burst_address_o(read1_address_o[32*ClientDescriptor+:32]),
    .burst_beats_o  (read1_beats_o[5*ClientDescriptor+:5]),
    .data_valid_i   (beat1_valid_i[ClientDescriptor]),
    .data_i         (beat1_i),
    .data_error_i   (read1_error_i),
    .valid_o        (fetched_valid),
    .ready_i        (fetched_ready),
    .descriptor_o   (fetched),
    .sum_good_o     (sum_good),
    .bus_error_o    (fetch_error),
    .index_o        (fetched_index),
    .last_o         (fetched_last)
  );

  // Errors of data; a descriptor that came with one is wrong by itself.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      load_error_q   <= 1'b0;
      stream_error_q <= 1'b0;
      write_error_q  <= 1'b0;
    end else begin
      if (read0_error_i || (read1_error_i && beat1_valid_i[ClientG])) load_error_q <= 1'b1;
      if (read1_error_i && !beat1_valid_i[ClientG] && !beat1_valid_i[ClientDescriptor]) stream_error_q <= 1'b1;
      if (write0_error_i || write1_error_i) write_error_q <= 1'b1;
    end
  end

  logic checked_valid, checked_ready, checked_trusted;
  logic [31:0] checked_error;
  logic [28:0] checked_x_row, checked_g_row, checked_dw;
  logic [47:0] checked_macs;

  jb_descriptor_check #(
    .Config(Config)
  ) u_check (
    .clk_i,
    .rst_ni,
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
    .rst_ni,
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

  // ---- what it needs
  logic load_x_valid, load_x_half, load_g_valid, load_g_half;
  logic [15:0] load_x_image, load_x_row, load_x_column, load_x_word, load_g_image, load_g_row, load_g_column, load_g_word;
  logic [63:0] load_x_data, load_g_data;
  logic w_valid, w_ready, m_valid, m_ready;
  logic [63:0] w_data, m_data;

  jb_tile_load #(
    .Config(Config)
  ) u_load (
    .clk_i,
    .rst_ni,
    .tile_i           (tile),
    .half_i           (tile_half),
    .x_row_words_i    (x_row_words),
    .g_row_words_i    (g_row_words),
    .dw_words_i       (dw_words),
    .masks_o          (masks),
    .x_valid_i        (x_valid),
    .x_ready_o        (x_ready),
    .x_busy_o         (x_busy),
    .g_valid_i        (g_valid),
    .g_ready_o        (g_ready),
    .g_busy_o         (g_busy),
    .w_valid_i        (w_request_valid),
    .w_ready_o        (w_request_ready),
    .m_valid_i        (m_request_valid),
    .m_ready_o        (m_request_ready),
    .x_burst_valid_o  (read0_valid_o),
    .x_burst_ready_i  (read0_ready_i),
    .x_burst_address_o(read0_address_o),
    .x_burst_beats_o  (read0_beats_o),
    .x_beat_valid_i   (beat0_valid_i),
    .x_beat_i         (beat0_i),
    .burst_valid_o    (read1_valid_o[2:0]),
    .burst_ready_i    (read1_ready_i[2:0]),
    .burst_address_o  (read1_address_o[95:0]),
    .burst_beats_o    (read1_beats_o[14:0]),
    .beat_valid_i     (beat1_valid_i[2:0]),
    .beat_i           (beat1_i),
    .load_x_valid_o   (load_x_valid),
    .load_x_half_o    (load_x_half),
    .load_x_image_o   (load_x_image),
    .load_x_row_o     (load_x_row),
    .load_x_column_o  (load_x_column),
    .load_x_word_o    (load_x_word),
    .load_x_data_o    (load_x_data),
    .load_g_valid_o   (load_g_valid),
    .load_g_half_o    (load_g_half),
    .load_g_image_o   (load_g_image),
    .load_g_row_o     (load_g_row),
    .load_g_column_o  (load_g_column),
    .load_g_word_o    (load_g_word),
    .load_g_data_o    (load_g_data),
    .weights_valid_o  (w_valid),
    .weights_ready_i  (w_ready),
    .weights_o        (w_data),
    .mask_valid_o     (m_valid),
    .mask_ready_i     (m_ready),
    .mask_o           (m_data)
  );

  // ---- the core, and its results
  logic o_valid, o_ready, o_last, o_accept;
  logic done_valid, done_ready;
  logic [63:0] done_peak;
  logic [31:0] done_saturated, done_stall_cycles;

  assign data0_valid_o = o_valid && o_accept;
  assign o_ready       = data0_ready_i && o_accept;

  jb_core #(
    .Config(Config)
  ) u_core (
    .clk_i,
    .rst_ni,
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
    .o_data_o             (data0_o),
    .o_last_o             (o_last),
    .done_valid_o         (done_valid),
    .done_ready_i         (done_ready),
    .done_peak_o          (done_peak),
    .done_saturated_o     (done_saturated),
    .done_decided_o       (decided_o),
    .done_undecided_o     (undecided_o),
    .done_compute_cycles_o(compute_cycles_o),
    .done_stall_cycles_o  (done_stall_cycles),
    .done_macs_o          (macs_o),
    .done_macs_gated_o    (macs_gated_o)
  );

  // ---- the end of a tile
  jb_tile_finish #(
    .Config(Config)
  ) u_finish (
    .clk_i,
    .rst_ni,
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
    .burst_valid_o        (write0_valid_o),
    .burst_ready_i        (write0_ready_i),
    .burst_address_o      (write0_address_o),
    .burst_beats_o        (write0_beats_o),
    .burst_upper_o        (write0_upper_o),
    .burst_lower_o        (write0_lower_o),
    .results_idle_i       (write0_idle_i),
    .results_starved_i    (write0_starved_i),
    .o_accept_o           (o_accept),
    .o_beat_i             (o_valid && o_ready),
    .o_last_i             (o_last),
    .block_burst_valid_o  (write1_valid_o),
    .block_burst_ready_i  (write1_ready_i),
    .block_burst_address_o(write1_address_o),
    .block_burst_beats_o  (write1_beats_o),
    .block_data_valid_o   (data1_valid_o),
    .block_data_ready_i   (data1_ready_i),
    .block_data_o         (data1_o),
    .block_idle_i         (write1_idle_i),
    .done_valid_i         (done_valid),
    .done_ready_o         (done_ready),
    .done_peak_i          (done_peak),
    .done_saturated_i     (done_saturated),
    .done_decided_i       (decided_o),
    .done_undecided_i     (undecided_o),
    .done_compute_cycles_i(compute_cycles_o),
    .done_stall_cycles_i  (done_stall_cycles),
    .done_macs_i          (macs_o),
    .done_macs_gated_i    (macs_gated_o),
    .read_error_i         (stream_error_q),
    .write_error_i        (write_error_q),
    .count_tile_o,
    .counting_i,
    .forward_o,
    .gradient_o,
    .macs_4x10_o,
    .interrupt_o,
    .done_o,
    .list_done_o,
    .fail_o,
    .fail_error_o,
    .fail_index_o
  );

  // Waiting: the core for features, weights or a mask; its results for the port.
  assign stall_read_o  = busy_i && ((loading && tile_ready) || (w_ready && !w_valid) || (m_ready && !m_valid));
  assign stall_write_o = busy_i && o_valid && !o_ready;

  logic unused;
  assign unused = fetch_busy_unused;
endmodule

`default_nettype wire
