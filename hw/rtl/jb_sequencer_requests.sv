// Requests of a step to the feature buffers: two walks, over x (forward, weight gradient) and over dz (both gradients). With start_i the
// step's parameters are taken; the first request leaves a cycle later, then one in each cycle. The walk that leads (of x in forward,
// else of dz) says how far the step is.
`default_nettype none

module jb_sequencer_requests #(
  parameter int BankBits = 8  // of an address in a half of a bank
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,
  input  wire logic                start_i,       // pulse: a step begins; may come with last_o
  // the tile
  input  wire logic [1023:0]       tile_i,
  input  wire logic                forward_i,
  input  wire logic                input_gradient_i,
  input  wire logic                weight_gradient_i,
  input  wire logic [BankBits-1:0] x_group_i,     // from four rows to the next
  input  wire logic [BankBits-1:0] x_image_i,
  input  wire logic [BankBits-1:0] g_group_i,
  input  wire logic [BankBits-1:0] g_image_i,
  // the step (jb_sequencer_step)
  input  wire logic [15:0]         images_i,
  input  wire logic [15:0]         rows_i,
  input  wire logic [15:0]         columns_i,
  input  wire logic                empty_i,
  input  wire logic [17:0]         step_x_row_i,
  input  wire logic [17:0]         step_x_column_i,
  input  wire logic [BankBits-1:0] step_x_base_i,
  input  wire logic [15:0]         step_x_word_i,
  input  wire logic [17:0]         step_g_row_i,
  input  wire logic [17:0]         step_g_column_i,
  input  wire logic [BankBits-1:0] step_g_base_i,
  input  wire logic [15:0]         step_g_word_i,
  // requests
  output      logic                x_valid_o,
  output      logic                x_many_o,
  output      logic [15:0]         x_base_o,
  output      logic [17:0]         x_row_o,
  output      logic [17:0]         x_column_o,
  output      logic [15:0]         x_word_o,
  output      logic                g_valid_o,
  output      logic                g_many_o,
  output      logic [15:0]         g_base_o,
  output      logic [17:0]         g_row_o,
  output      logic [17:0]         g_column_o,
  output      logic [15:0]         g_word_o,
  // how far the leading walk is
  output      logic                active_o,
  output      logic                row_end_o,     // the row's last pixel
  output      logic                image_end_o,   // the image's last
  output      logic                last_o,        // the step's last
  output      logic                x_last_row_o   // the walk of x is in the last row of an image
);
  logic stride2, channels;  // channels: lane_mode 1, three groups of channels of one tap

  assign stride2  = tile_i[jb_pkg::STRIDE_LSB+1];
  assign channels = tile_i[jb_pkg::LANE_MODE_LSB];

  logic x_row_end, x_image_end, x_last, g_row_end, g_image_end, g_last, g_last_row_unused;

  jb_sequencer_walk u_x_walk (
    .clk_i,
    .rst_ni,
    .start_i,
    .go_i         (!input_gradient_i && !empty_i),
    .images_i,
    .rows_i,
    .columns_i,
    .row_step_i   (forward_i ? (stride2 ? 3'd4 : 3'd2) : (stride2 ? 3'd2 : 3'd1)),
    .column_step_i(stride2 ? 2'd2 : 2'd1),
    .group_step_i (16'(x_group_i)),
    .image_step_i (16'(x_image_i)),
    .row_i        (step_x_row_i),
    .column_i     (step_x_column_i),
    .base_i       (16'(step_x_base_i)),
    .active_o     (x_valid_o),
    .base_o       (x_base_o),
    .row_o        (x_row_o),
    .column_o     (x_column_o),
    .row_end_o    (x_row_end),
    .image_end_o  (x_image_end),
    .last_o       (x_last),
    .last_row_o   (x_last_row_o)
  );

  jb_sequencer_walk u_g_walk (
    .clk_i,
    .rst_ni,
    .start_i,
    .go_i         (!forward_i && !empty_i),
    .images_i,
    .rows_i,
    .columns_i,
    .row_step_i   (3'd1),
    .column_step_i(2'd1),
    .group_step_i (16'(g_group_i)),
    .image_step_i (16'(g_image_i)),
    .row_i        (step_g_row_i),
    .column_i     (step_g_column_i),
    .base_i       (16'(step_g_base_i)),
    .active_o     (g_valid_o),
    .base_o       (g_base_o),
    .row_o        (g_row_o),
    .column_o     (g_column_o),
    .row_end_o    (g_row_end),
    .image_end_o  (g_image_end),
    .last_o       (g_last),
    .last_row_o   (g_last_row_unused)
  );

  assign active_o    = forward_i ? x_valid_o : g_valid_o;
  assign last_o      = forward_i ? x_last : g_last;
  assign row_end_o   = forward_i ? x_row_end : g_row_end;
  assign image_end_o = forward_i ? x_image_end : g_image_end;
  assign x_many_o    = forward_i && channels;
  assign g_many_o    = weight_gradient_i || channels;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      x_word_o <= step_x_word_i;
      g_word_o <= step_g_word_i;
    end
  end

  logic unused;
  assign unused = ^{tile_i, g_last_row_unused};
endmodule

`default_nettype wire
