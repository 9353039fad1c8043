// The sign predictor of PSG: sums of x_msb * g_msb for every weight (numerics.md, section 6), kept over the tiles of a
// layer from FIRST to LAST, with the maximum of their absolute values after LAST. It works beside the input gradient.
//
// - dz: the load_* port sees what is loaded into the dz buffer (order: image, row, column, word) and keeps the leading bits.
// - x: one request per cycle without back-pressure (x_valid_o with image, row, column, word: the top left pixel of the
//   window, in coordinates of the tile, negative or too large in the padding); the buffer answers XLatency cycles later with the
//   word at (row, column), (row, column + 1), (row, column + 2) in bits 63:0, 127:64, 191:128; zero outside the tile.
//   XLatency 1: the data are valid in the cycle after the one that x_valid_o is high in.
// - start_i: one pulse with tile_i and half_i, which stay as they are until done_o (one pulse); busy_o from the cycle after start_i.
//   All x_words * 8 channels of x and all g_words * 4 channels of dz of the tile take part.
// - Word n of the sums holds OutLanes of them: with G = OutLanes / 2 channels of dz per group, tap = kernel row * kernel_w
//   + kernel column, n = (((group * x_words + word of x) * kernel_h * kernel_w) + tap) * 4 + channel of x / 2,
//   lane = (channel of x mod 2) * G + channel of dz mod G.
// - read_*: while not busy, a read of word n answers, after a fixed number of cycles, for each lane whether |sum| > read_limit_i
//   (= tau - 1; steady while reads are in flight) and whether the sum is negative.
`default_nettype none

module jb_predictor #(
  parameter int OutLanes  = 16,    // channels of dz in an output block; OutLanes * 12 products per cycle
  parameter int BankDepth = 512,   // of a feature buffer
  parameter int Depth     = 2304,  // words of sums
  parameter int XLatency  = 3      // cycles from x_valid_o to x_data_i, >= 1
) (
  input  wire logic                       clk_i,
  input  wire logic                       rst_ni,
  // Copy of dz
  input  wire logic                       load_valid_i,
  input  wire logic                       load_half_i,
  input  wire logic [15:0]                load_image_i,
  input  wire logic [15:0]                load_row_i,
  input  wire logic [15:0]                load_column_i,
  input  wire logic [15:0]                load_word_i,
  input  wire logic [63:0]                load_data_i,
  // Tile
  input  wire logic                       start_i,
  input  wire logic                       half_i,
  input  wire logic [1023:0]              tile_i,
  output      logic                       busy_o,
  output      logic                       done_o,
  output      logic [35:0]                peak_o,    // max |sum|; after a tile with LAST
  output      logic [63:0]                macs_o,    // products of the last tile, padding included
  // x buffer
  output      logic                       x_valid_o,
  output      logic [15:0]                x_image_o,
  output      logic signed [16:0]         x_row_o,
  output      logic signed [16:0]         x_column_o,
  output      logic [15:0]                x_word_o,
  input  wire logic [191:0]               x_data_i,
  // Scheduler
  input  wire logic                       read_valid_i,
  input  wire logic [$clog2(Depth)-1:0]   read_address_i,
  input  wire logic [35:0]                read_limit_i,
  output      logic                       read_valid_o,
  output      logic [OutLanes-1:0]        read_above_o,
  output      logic [OutLanes-1:0]        read_negative_o
);
endmodule

`default_nettype wire
