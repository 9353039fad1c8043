// Where a tile's results go and where its masks come from: the requests for jb_dma_walk, made from the descriptor by shifts and
// additions alone. The answers are there two cycles after a new descriptor.
`default_nettype none

module jb_dma_result #(
  parameter int Config = 0
) (
  input  wire logic          clk_i,
  input  wire logic [1023:0] descriptor_i,
  input  wire logic [28:0]   x_row_words_i,
  input  wire logic [28:0]   g_row_words_i,
  input  wire logic [28:0]   dw_words_i,
  output      logic          stores_o,        // results leave
  // results
  output      logic [31:0]   address_o,
  output      logic [15:0]   blocks_o,
  output      logic [15:0]   images_o,
  output      logic [15:0]   rows_o,
  output      logic [15:0]   chunks_o,
  output      logic [31:0]   block_stride_o,
  output      logic [31:0]   image_stride_o,
  output      logic [31:0]   row_stride_o,
  output      logic [31:0]   chunk_stride_o,
  output      logic [28:0]   beats_o,
  output      logic [28:0]   last_beats_o,
  output      logic          half_o,
  output      logic          last_half_o,
  // masks: blocks and images as above
  output      logic          masks_o,         // masks are needed
  output      logic [31:0]   mask_address_o,
  output      logic [15:0]   mask_chunks_o,
  output      logic [31:0]   mask_block_stride_o,
  output      logic [31:0]   mask_image_stride_o,
  output      logic [31:0]   mask_row_stride_o,
  output      logic [31:0]   mask_chunk_stride_o,
  output      logic [28:0]   mask_beats_o,
  output      logic [28:0]   mask_last_beats_o
);
  localparam int OutLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32];
  localparam int LaneBits = $clog2(OutLanes);

  logic [7:0] operation;
  logic [15:0] flags, out_block, out_blocks, images;
  logic [31:0] pixel_stride;
  logic forward, weight_gradient, raw, relu;
  logic [18:0] channels, earlier;  // of the result; before this tile's last block
  logic [5:0] last_channels;      // of the tile's last block: 1..OutLanes; a register, since it takes two subtractions
  logic [8:0] bytes, last_bytes;  // of a pixel's part of a block, of the last block
  logic [31:0] offset;            // of the first block
  logic whole_rows, whole_mask_rows;  // a row's results are contiguous

  assign operation       = descriptor_i[jb_pkg::OPERATION_LSB+:8];
  assign flags           = descriptor_i[jb_pkg::FLAGS_LSB+:16];
  assign out_block       = descriptor_i[jb_pkg::OUT_BLOCK_LSB+:16];
  assign out_blocks      = descriptor_i[jb_pkg::OUT_BLOCKS_LSB+:16];
  assign images          = descriptor_i[jb_pkg::IMAGES_LSB+:16];
  assign pixel_stride    = descriptor_i[jb_pkg::OUT_PIXEL_STRIDE_LSB+:32];
  assign forward         = operation == jb_pkg::OP_FORWARD;
  assign weight_gradient = operation == jb_pkg::OP_WEIGHT_GRADIENT;
  assign raw             = flags[jb_pkg::FLAG_RAW];
  assign relu            = flags[jb_pkg::FLAG_RELU];
  assign stores_o        = flags[jb_pkg::FLAG_LAST] && operation != jb_pkg::OP_PREDICT;
  assign masks_o         = flags[jb_pkg::FLAG_LAST] && flags[jb_pkg::FLAG_MASK];

  assign channels = forward ? {1'b0, descriptor_i[jb_pkg::G_WORDS_LSB+:16], 2'b00}
                            : {descriptor_i[jb_pkg::X_WORDS_LSB+:16], 3'b000};
  assign earlier  = 19'({3'd0, out_block} + {3'd0, out_blocks} - 19'd1) << LaneBits;

  logic [18:0] remaining;
  assign remaining     = channels - earlier;
  always_ff @(posedge clk_i) last_channels <= remaining > 19'(OutLanes) ? 6'(OutLanes) : remaining[5:0];

  always_comb begin
    if (raw) begin
      bytes      = 9'(8 * OutLanes);
      last_bytes = {last_channels, 3'b000};
      offset     = 32'(out_block) << (LaneBits + 3);
    end else if (relu) begin
      bytes      = 9'(OutLanes);
      last_bytes = {3'd0, last_channels};
      offset     = 32'(out_block) << LaneBits;
    end else begin
      bytes      = 9'(2 * OutLanes);
      last_bytes = {2'd0, last_channels, 1'b0};
      offset     = 32'(out_block) << (LaneBits + 1);
    end
  end

  assign whole_rows      = out_blocks == 16'd1 && pixel_stride == {23'd0, last_bytes};
  assign whole_mask_rows = whole_rows;

  always_comb begin
    address_o      = descriptor_i[jb_pkg::OUT_ADDRESS_LSB+:32] + offset;
    blocks_o       = out_blocks;
    images_o       = images;
    rows_o         = forward ? descriptor_i[jb_pkg::G_ROWS_LSB+:16] : descriptor_i[jb_pkg::X_ROWS_LSB+:16];
    chunks_o       = forward ? descriptor_i[jb_pkg::G_COLUMNS_LSB+:16] : descriptor_i[jb_pkg::X_COLUMNS_LSB+:16];
    block_stride_o = {23'd0, bytes};
    image_stride_o = descriptor_i[jb_pkg::OUT_IMAGE_STRIDE_LSB+:32];
    row_stride_o   = descriptor_i[jb_pkg::OUT_ROW_STRIDE_LSB+:32];
    chunk_stride_o = pixel_stride;
    beats_o        = (29'(bytes) + 29'd7) >> 3;
    last_beats_o   = (29'(last_bytes) + 29'd7) >> 3;
    half_o         = bytes[2];
    last_half_o    = last_bytes[2];
    if (weight_gradient) begin
      address_o    = descriptor_i[jb_pkg::OUT_ADDRESS_LSB+:32];
      blocks_o     = 16'd1;
      images_o     = 16'd1;
      rows_o       = 16'd1;
      chunks_o     = 16'd1;
      last_beats_o = raw ? dw_words_i << (LaneBits + 3) : dw_words_i << LaneBits;
      last_half_o  = 1'b0;
    end else if (whole_rows) begin
      chunks_o = 16'd1;
      if (forward) last_beats_o = raw ? g_row_words_i << 2 : relu ? g_row_words_i >> 1 : g_row_words_i;
      else last_beats_o = raw ? x_row_words_i << 3 : x_row_words_i << 1;
    end
  end

  always_comb begin
    mask_address_o      = descriptor_i[jb_pkg::MASK_ADDRESS_LSB+:32] + (32'(out_block) << LaneBits);
    mask_chunks_o       = descriptor_i[jb_pkg::X_COLUMNS_LSB+:16];
    mask_block_stride_o = 32'(OutLanes);
    mask_image_stride_o = descriptor_i[jb_pkg::MASK_IMAGE_STRIDE_LSB+:32];
    mask_row_stride_o   = descriptor_i[jb_pkg::MASK_ROW_STRIDE_LSB+:32];
    mask_chunk_stride_o = raw ? pixel_stride >> 3 : pixel_stride >> 1;
    mask_beats_o        = 29'((OutLanes + 7) / 8);
    mask_last_beats_o   = (29'(last_channels) + 29'd7) >> 3;
    if (whole_mask_rows) begin
      mask_chunks_o     = 16'd1;
      mask_last_beats_o = x_row_words_i;
    end
  end

  logic unused;
  assign unused = ^descriptor_i;
endmodule

`default_nettype wire
