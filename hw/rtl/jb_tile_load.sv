// Brings in what a tile needs: its features into the buffers (jb_loader, x by port 0, dz by port 1), its weights and masks as streams
// (jb_dma_stream, port 1). The tile is stable from a request until the loader is no longer busy, or the stream has taken its request;
// streams run ahead of the core as far as their FIFOs are deep.
`default_nettype none

module jb_tile_load #(
  parameter int Config = 0
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  // the tile (jb_tile_queue)
  input  wire logic [1023:0] tile_i,
  input  wire logic          half_i,           // of the buffers
  input  wire logic [28:0]   x_row_words_i,
  input  wire logic [28:0]   g_row_words_i,
  input  wire logic [28:0]   dw_words_i,
  output      logic          masks_o,          // it needs masks
  // requests
  input  wire logic          x_valid_i,
  output      logic          x_ready_o,
  output      logic          x_busy_o,
  input  wire logic          g_valid_i,
  output      logic          g_ready_o,
  output      logic          g_busy_o,
  input  wire logic          w_valid_i,
  output      logic          w_ready_o,
  input  wire logic          m_valid_i,
  output      logic          m_ready_o,
  // bursts and beats of port 0
  output      logic          x_burst_valid_o,
  input  wire logic          x_burst_ready_i,
  output      logic [31:0]   x_burst_address_o,
  output      logic [ 4:0]   x_burst_beats_o,
  input  wire logic          x_beat_valid_i,
  input  wire logic [63:0]   x_beat_i,
  // of port 1: dz, weights, masks
  output      logic [ 2:0]   burst_valid_o,
  input  wire logic [ 2:0]   burst_ready_i,
  output      logic [95:0]   burst_address_o,
  output      logic [14:0]   burst_beats_o,
  input  wire logic [ 2:0]   beat_valid_i,
  input  wire logic [63:0]   beat_i,
  // words for the buffers
  output      logic          load_x_valid_o,
  output      logic          load_x_half_o,
  output      logic [15:0]   load_x_image_o,
  output      logic [15:0]   load_x_row_o,
  output      logic [15:0]   load_x_column_o,
  output      logic [15:0]   load_x_word_o,
  output      logic [63:0]   load_x_data_o,
  output      logic          load_g_valid_o,
  output      logic          load_g_half_o,
  output      logic [15:0]   load_g_image_o,
  output      logic [15:0]   load_g_row_o,
  output      logic [15:0]   load_g_column_o,
  output      logic [15:0]   load_g_word_o,
  output      logic [63:0]   load_g_data_o,
  // streams
  output      logic          weights_valid_o,
  input  wire logic          weights_ready_i,
  output      logic [63:0]   weights_o,
  output      logic          mask_valid_o,
  input  wire logic          mask_ready_i,
  output      logic [63:0]   mask_o
);
  localparam int ClientG = 0;
  localparam int ClientWeights = 1;
  localparam int ClientMask = 2;
  localparam bit NarrowLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32] < 8;

  // ---- features
  jb_loader u_load_x (
    .clk_i,
    .rst_ni,
    .valid_i        (x_valid_i),
    .ready_o        (x_ready_o),
    .busy_o         (x_busy_o),
    .half_i,
    .address_i      (tile_i[jb_pkg::X_ADDRESS_LSB+:32]),
    .row_stride_i   (tile_i[jb_pkg::X_ROW_STRIDE_LSB+:32]),
    .image_stride_i (tile_i[jb_pkg::X_IMAGE_STRIDE_LSB+:32]),
    .pixel_stride_i (tile_i[jb_pkg::X_PIXEL_STRIDE_LSB+:32]),
    .images_i       (tile_i[jb_pkg::IMAGES_LSB+:16]),
    .rows_i         (tile_i[jb_pkg::X_ROWS_LSB+:16]),
    .columns_i      (tile_i[jb_pkg::X_COLUMNS_LSB+:16]),
    .words_i        (tile_i[jb_pkg::X_WORDS_LSB+:16]),
    .row_words_i    (x_row_words_i),
    .burst_valid_o  (x_burst_valid_o),
    .burst_ready_i  (x_burst_ready_i),
    .burst_address_o(x_burst_address_o),
    .burst_beats_o  (x_burst_beats_o),
    .data_valid_i   (x_beat_valid_i),
    .data_i         (x_beat_i),
    .load_valid_o   (load_x_valid_o),
    .load_half_o    (load_x_half_o),
    .load_image_o   (load_x_image_o),
    .load_row_o     (load_x_row_o),
    .load_column_o  (load_x_column_o),
    .load_word_o    (load_x_word_o),
    .load_data_o    (load_x_data_o)
  );

  jb_loader u_load_g (
    .clk_i,
    .rst_ni,
    .valid_i        (g_valid_i),
    .ready_o        (g_ready_o),
    .busy_o         (g_busy_o),
    .half_i,
    .address_i      (tile_i[jb_pkg::G_ADDRESS_LSB+:32]),
    .row_stride_i   (tile_i[jb_pkg::G_ROW_STRIDE_LSB+:32]),
    .image_stride_i (tile_i[jb_pkg::G_IMAGE_STRIDE_LSB+:32]),
    .pixel_stride_i (tile_i[jb_pkg::G_PIXEL_STRIDE_LSB+:32]),
    .images_i       (tile_i[jb_pkg::IMAGES_LSB+:16]),
    .rows_i         (tile_i[jb_pkg::G_ROWS_LSB+:16]),
    .columns_i      (tile_i[jb_pkg::G_COLUMNS_LSB+:16]),
    .words_i        (tile_i[jb_pkg::G_WORDS_LSB+:16]),
    .row_words_i    (g_row_words_i),
    .burst_valid_o  (burst_valid_o[ClientG]),
    .burst_ready_i  (burst_ready_i[ClientG]),
    .burst_address_o(burst_address_o[32*ClientG+:32]),
    .burst_beats_o  (burst_beats_o[5*ClientG+:5]),
    .data_valid_i   (beat_valid_i[ClientG]),
    .data_i         (beat_i),
    .load_valid_o   (load_g_valid_o),
    .load_half_o    (load_g_half_o),
    .load_image_o   (load_g_image_o),
    .load_row_o     (load_g_row_o),
    .load_column_o  (load_g_column_o),
    .load_word_o    (load_g_word_o),
    .load_data_o    (load_g_data_o)
  );

  // ---- weights: one piece
  logic w_idle_unused, m_idle_unused;

  jb_dma_stream #(
    .Depth(512)
  ) u_weights (
    .clk_i,
    .rst_ni,
    .request_valid_i(w_valid_i),
    .request_ready_o(w_ready_o),
    .address_i      (tile_i[jb_pkg::W_ADDRESS_LSB+:32]),
    .blocks_i       (16'd1),
    .images_i       (16'd1),
    .rows_i         (16'd1),
    .chunks_i       (16'd1),
    .block_stride_i ('0),
    .image_stride_i ('0),
    .row_stride_i   ('0),
    .chunk_stride_i ('0),
    .beats_i        (tile_i[jb_pkg::W_BYTES_LSB+3+:29]),
    .last_beats_i   (tile_i[jb_pkg::W_BYTES_LSB+3+:29]),
    .burst_valid_o  (burst_valid_o[ClientWeights]),
    .burst_ready_i  (burst_ready_i[ClientWeights]),
    .burst_address_o(burst_address_o[32*ClientWeights+:32]),
    .burst_beats_o  (burst_beats_o[5*ClientWeights+:5]),
    .data_valid_i   (beat_valid_i[ClientWeights]),
    .data_i         (beat_i),
    .valid_o        (weights_valid_o),
    .ready_i        (weights_ready_i),
    .data_o         (weights_o),
    .idle_o         (w_idle_unused)
  );

  // ---- masks, in the order of the results
  logic [15:0] blocks, images, rows;
  logic [31:0] mask_address, mask_block_stride, mask_image_stride, mask_row_stride, mask_chunk_stride;
  logic [15:0] mask_chunks;
  logic [28:0] mask_beats, mask_last_beats;
  logic stores_unused, half_unused, last_half_unused;
  logic [31:0] address_unused, block_stride_unused, image_stride_unused, row_stride_unused, chunk_stride_unused;
  logic [15:0] chunks_unused;
  logic [28:0] beats_unused, last_beats_unused;

  jb_dma_result #(
    .Config(Config)
  ) u_masks (
    .clk_i,
    .descriptor_i       (tile_i),
    .x_row_words_i,
    .g_row_words_i,
    .dw_words_i,
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
    .masks_o,
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
    .rst_ni,
    .request_valid_i(m_valid_i),
    .request_ready_o(m_ready_o),
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
    .burst_valid_o  (burst_valid_o[ClientMask]),
    .burst_ready_i  (burst_ready_i[ClientMask]),
    .burst_address_o(burst_address_o[32*ClientMask+:32]),
    .burst_beats_o  (burst_beats_o[5*ClientMask+:5]),
    .data_valid_i   (beat_valid_i[ClientMask]),
    .data_i         (beat_i),
    .valid_o        (mask_valid_o),
    .ready_i        (mask_ready_i),
    .data_o         (mask_o),
    .idle_o         (m_idle_unused)
  );

  logic unused;
  assign unused = ^{w_idle_unused, m_idle_unused, stores_unused, half_unused, last_half_unused, address_unused, block_stride_unused,
                    image_stride_unused, row_stride_unused, chunk_stride_unused, chunks_unused, beats_unused, last_beats_unused};
endmodule

`default_nettype wire
