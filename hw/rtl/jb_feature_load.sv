// Where a loaded word of a feature buffer goes: pixel (image, row, column), word w of a tile with R x C pixels of W words has address
// ((image * ceil(R / 4) + row / 4) * W + w) * ceil(C / 4) + column / 4 within its banks. Words come in the order image, row, column, word.
`default_nettype none

module jb_feature_load #(
  parameter int AddressBits = 8
) (
  input  wire logic                   clk_i,
  input  wire logic                   valid_i,
  input  wire logic [15:0]            image_i,
  input  wire logic [15:0]            row_i,
  input  wire logic [15:0]            column_i,
  input  wire logic [15:0]            word_i,
  input  wire logic [15:0]            rows_i,     // of the tile that is loaded
  input  wire logic [15:0]            columns_i,
  input  wire logic [15:0]            words_i,
  output      logic [AddressBits-1:0] address_o
);
  logic [AddressBits-1:0] group_q, word_offset_q, group, word_offset;
  logic pixel_start, tile_start, group_end;

  assign pixel_start = word_i == '0;
  assign tile_start  = pixel_start && column_i == '0 && row_i == '0 && image_i == '0;
  assign group       = tile_start ? '0 : group_q;
  assign word_offset = pixel_start ? '0 : word_offset_q;
  assign address_o   = group + word_offset + AddressBits'(column_i[15:2]);
  assign group_end   = word_i == words_i - 16'd1 && column_i == columns_i - 16'd1
                       && (row_i[1:0] == 2'd3 || row_i == rows_i - 16'd1);

  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      word_offset_q <= word_offset + AddressBits'((17'(columns_i) + 17'd3) >> 2);
      group_q       <= group_end ? address_o + 1'b1 : group;
    end
  end
endmodule

`default_nettype wire
