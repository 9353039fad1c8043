// The feature buffer of dz: 4 banks, so that 4 columns of one word, or 4 words of one pixel, can be read in a cycle. Pixel (image, row,
// column), word w of a tile with R x C pixels of W words lies in bank (column + w) mod 4, in part row mod 4 of its half, at
// ((image * ceil(R / 4) + row / 4) * W + w) * ceil(C / 4) + column / 4, below Depth / 2.
// A request is accepted in every cycle; its data is there six cycles later. What lies outside the tile reads as zero.
`default_nettype none

module jb_gradient_buffer #(
  parameter int Depth = 512  // words of a quarter of a bank, both halves; a power of two, at least 4
) (
  input  wire logic         clk_i,
  // loading: a beat per cycle, in the order image, row, column, word
  input  wire logic         load_valid_i,
  input  wire logic         load_half_i,
  input  wire logic [15:0]  load_image_i,
  input  wire logic [15:0]  load_row_i,
  input  wire logic [15:0]  load_column_i,
  input  wire logic [15:0]  load_word_i,
  input  wire logic [63:0]  load_data_i,
  input  wire logic [15:0]  load_rows_i,      // of the tile that is loaded
  input  wire logic [15:0]  load_columns_i,
  input  wire logic [15:0]  load_words_i,
  // reading
  input  wire logic         read_half_i,      // these four are stable during a tile
  input  wire logic [15:0]  rows_i,
  input  wire logic [15:0]  columns_i,
  input  wire logic [15:0]  words_i,
  input  wire logic         valid_i,
  input  wire logic         many_words_i,     // j counts words of a pixel, not columns
  input  wire logic [15:0]  base_i,           // address of (image, 4 * floor(row / 4), column 0, word); signed
  input  wire logic [17:0]  row_i,            // signed
  input  wire logic [17:0]  column_i,         // signed
  input  wire logic [15:0]  word_i,
  output      logic [255:0] data_o            // [64*j+:64]: column + j or word + j
);
  localparam int AddressBits = $clog2(Depth) - 1;  // of a part of a half

  // ---- loading
  logic [AddressBits-1:0] load_address;
  logic write_q;
  logic [1:0] write_bank_q;
  logic [AddressBits+2:0] write_address_q;
  logic [63:0] write_data_q;

  jb_feature_load #(
    .AddressBits(AddressBits)
  ) u_load (
    .clk_i,
    .valid_i  (load_valid_i),
    .image_i  (load_image_i),
    .row_i    (load_row_i),
    .column_i (load_column_i),
    .word_i   (load_word_i),
    .rows_i   (load_rows_i),
    .columns_i(load_columns_i),
    .words_i  (load_words_i),
    .address_o(load_address)
  );

  always_ff @(posedge clk_i) begin
    write_q         <= load_valid_i;
    write_bank_q    <= load_column_i[1:0] + load_word_i[1:0];
    write_address_q <= {load_half_i, load_row_i[1:0], load_address};
    write_data_q    <= load_data_i;
  end

  // ---- reading, cycle 1: address of each bank in two parts
  logic [AddressBits-1:0] quarter, step_q;
  logic [AddressBits-1:0] term_d[4], term_q[4];
  logic [3:0] column_good, word_good, good_q;
  logic [1:0] row_q, rotate_q;
  logic [1:0] place[4];
  logic [2:0] carry[4];
  logic half_q, row_good;

  assign quarter = AddressBits'((17'(columns_i) + 17'd3) >> 2);

  always_comb begin
    for (int bank = 0; bank < 4; bank++) begin
      place[bank] = 2'(bank) - column_i[1:0] - word_i[1:0];
      carry[bank] = {1'b0, column_i[1:0]} + {1'b0, place[bank]};
      unique case (place[bank])
        2'd0: term_d[bank] = '0;
        2'd1: term_d[bank] = quarter;
        2'd2: term_d[bank] = quarter << 1;
        default: term_d[bank] = quarter + (quarter << 1);
      endcase
      if (!many_words_i) term_d[bank] = {{(AddressBits - 1) {1'b0}}, carry[bank][2]};
    end
  end

  jb_feature_inside #(.Count(1)) u_rows (.first_i(row_i), .limit_i(rows_i), .inside_o(row_good));
  jb_feature_inside #(.Count(4)) u_columns (.first_i(column_i), .limit_i(columns_i), .inside_o(column_good));
  jb_feature_inside #(.Count(4)) u_words (.first_i({2'b00, word_i}), .limit_i(words_i), .inside_o(word_good));

  always_ff @(posedge clk_i) begin
    step_q   <= base_i[AddressBits-1:0] + AddressBits'($signed(column_i[17:2]));
    half_q   <= read_half_i;
    row_q    <= row_i[1:0];
    rotate_q <= column_i[1:0] + word_i[1:0];
    if (!valid_i || !row_good) good_q <= '0;
    else good_q <= many_words_i ? word_good & {4{column_good[0]}} : column_good;
    for (int i = 0; i < 4; i++) term_q[i] <= term_d[i];
  end

  // ---- cycle 2: address registers; 3 and 4: memory and its register
  logic [AddressBits+2:0] read_address_q[4];
  logic [63:0] bank_data[4];

  for (genvar bank = 0; bank < 4; bank++) begin : g_bank
    always_ff @(posedge clk_i) read_address_q[bank] <= {half_q, row_q, step_q + term_q[bank]};

    jb_feature_bank #(
      .Depth(4 * Depth)
    ) u_bank (
      .clk_i,
      .write_i        (write_q && write_bank_q == 2'(bank)),
      .write_address_i(write_address_q),
      .write_data_i   (write_data_q),
      .read_address_i (read_address_q[bank]),
      .read_data_o    (bank_data[bank])
    );
  end

  // ---- cycles 5 and 6: into place
  logic [1:0] rotate2_q, rotate3_q;
  logic [3:0] good2_q, good3_q, good4_q, outside_q;
  logic [63:0] turned_q[4];

  always_ff @(posedge clk_i) begin
    rotate2_q <= rotate_q;
    rotate3_q <= rotate2_q;
    good2_q   <= good_q;
    good3_q   <= good2_q;
    good4_q   <= good3_q;
    outside_q <= ~good4_q;
  end

  for (genvar j = 0; j < 4; j++) begin : g_place
    logic [1:0] from_q;

    always_ff @(posedge clk_i) begin
      from_q      <= rotate3_q + 2'(j);
      turned_q[j] <= bank_data[from_q];
      if (outside_q[j]) data_o[64*j+:64] <= '0;
      else data_o[64*j+:64] <= turned_q[j];
    end
  end

  logic unused;
  assign unused = ^{base_i, column_i[16]};
endmodule

`default_nettype wire
