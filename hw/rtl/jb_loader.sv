// Loads one tile into one feature buffer: asks for its rows and labels each beat that arrives with image, row, column and word.
// The buffer takes a beat in every cycle, so that nothing waits.
`default_nettype none

module jb_loader (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // a tile: what follows valid_i is stable until busy_o falls
  input  wire logic        valid_i,
  output      logic        ready_o,
  output      logic        busy_o,         // beats are still to come
  input  wire logic        half_i,
  input  wire logic [31:0] address_i,
  input  wire logic [31:0] row_stride_i,
  input  wire logic [31:0] image_stride_i,
  input  wire logic [31:0] pixel_stride_i, // 0: a row's pixels follow one another
  input  wire logic [15:0] images_i,
  input  wire logic [15:0] rows_i,
  input  wire logic [15:0] columns_i,
  input  wire logic [15:0] words_i,
  input  wire logic [28:0] row_words_i,    // columns * words
  // bursts to the read port, beats from it
  output      logic        burst_valid_o,
  input  wire logic        burst_ready_i,
  output      logic [31:0] burst_address_o,
  output      logic [ 4:0] burst_beats_o,
  input  wire logic        data_valid_i,
  input  wire logic [63:0] data_i,
  // words for the buffer
  output      logic        load_valid_o,
  output      logic        load_half_o,
  output      logic [15:0] load_image_o,
  output      logic [15:0] load_row_o,
  output      logic [15:0] load_column_o,
  output      logic [15:0] load_word_o,
  output      logic [63:0] load_data_o
);
  logic busy_q, whole_rows;
  logic [28:0] beats;
  logic [15:0] image_q, row_q, column_q, word_q, next_image, next_row, next_column, next_word;
  logic word_end, column_end, row_end, image_end;
  logic walk_ready, walk_upper_unused, walk_lower_unused, walk_last_unused, walk_busy_unused;

  jb_dma_walk u_walk (
    .clk_i,
    .rst_ni,
    .valid_i       (valid_i && ready_o),
    .ready_o       (walk_ready),
    .address_i,
    .blocks_i      (16'd1),
    .images_i,
    .rows_i,
    .chunks_i      (whole_rows ? 16'd1 : columns_i),
    .block_stride_i('0),
    .image_stride_i,
    .row_stride_i,
    .chunk_stride_i(pixel_stride_i),
    .beats_i       (beats),
    .last_beats_i  (beats),
    .half_i        (1'b0),
    .last_half_i   (1'b0),
    .valid_o       (burst_valid_o),
    .ready_i       (burst_ready_i),
    .address_o     (burst_address_o),
    .beats_o       (burst_beats_o),
    .upper_o       (walk_upper_unused),
    .lower_o       (walk_lower_unused),
    .last_o        (walk_last_unused),
    .busy_o        (walk_busy_unused)
  );

  assign whole_rows = pixel_stride_i == '0;
  assign beats      = whole_rows ? row_words_i : {13'd0, words_i};
  assign ready_o    = !busy_q && walk_ready;
  assign busy_o     = busy_q || load_valid_o;
  assign next_word   = word_q + 16'd1;
  assign next_column = column_q + 16'd1;
  assign next_row    = row_q + 16'd1;
  assign next_image  = image_q + 16'd1;
  assign word_end    = next_word == words_i;
  assign column_end  = next_column == columns_i;
  assign row_end     = next_row == rows_i;
  assign image_end   = next_image == images_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q       <= 1'b0;
      load_valid_o <= 1'b0;
    end else begin
      if (valid_i && ready_o) busy_q <= 1'b1;
      else if (data_valid_i && word_end && column_end && row_end && image_end) busy_q <= 1'b0;
      load_valid_o <= data_valid_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_i && ready_o) begin
      image_q  <= '0;
      row_q    <= '0;
      column_q <= '0;
      word_q   <= '0;
    end else if (data_valid_i) begin
      word_q <= word_end ? '0 : next_word;
      if (word_end) column_q <= column_end ? '0 : next_column;
      if (word_end && column_end) row_q <= row_end ? '0 : next_row;
      if (word_end && column_end && row_end) image_q <= next_image;
    end
    load_half_o   <= half_i;
    load_image_o  <= image_q;
    load_row_o    <= row_q;
    load_column_o <= column_q;
    load_word_o   <= word_q;
    load_data_o   <= data_i;
  end

  logic unused;
  assign unused = ^{walk_upper_unused, walk_lower_unused, walk_last_unused, walk_busy_unused};
endmodule

`default_nettype wire
