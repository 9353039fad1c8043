// Walks over images, rows and columns and makes one request to a feature buffer per cycle while active_o.
// start_i loads a walk; it may come together with last_o of the walk before, so that no cycle is lost.
`default_nettype none

module jb_sequencer_walk (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  input  wire logic        start_i,
  // stable from start_i to the next
  input  wire logic [2:0]  row_step_i,     // 1, 2 or 4
  input  wire logic [1:0]  column_step_i,  // 1 or 2
  input  wire logic [15:0] group_step_i,   // words of the buffer: W * ceil(C / 4)
  input  wire logic [15:0] image_step_i,   // ceil(R / 4) * W * ceil(C / 4)
  // taken with start_i
  input  wire logic        go_i,           // else the walk is empty
  input  wire logic [15:0] images_i,       // walks of n * m pixels, less one
  input  wire logic [15:0] rows_i,         // n - 1
  input  wire logic [15:0] columns_i,      // m - 1
  input  wire logic [17:0] row_i,          // first row and column in the buffer, signed; rows -8..7, or anything when
  input  wire logic [17:0] column_i,       // nothing that is read counts
  input  wire logic [15:0] base_i,         // word * ceil(C / 4)
  // requests
  output      logic        active_o,
  output      logic [15:0] base_o,         // of the group of four rows
  output      logic [17:0] row_o,
  output      logic [17:0] column_o,
  output      logic        row_end_o,      // the row's last
  output      logic        image_end_o,    // the image's last
  output      logic        last_o,         // the walk's last
  output      logic        last_row_o      // in the last row of an image
);
  logic active_q, last_q;
  logic [15:0] images_left_q, rows_left_q, columns_left_q, rows_q, columns_q;  // rows and columns: of each image and row
  logic last_image_q, last_row_q, row_end_q;  // nothing is left
  logic last_image_d, last_row_d, row_end_d;
  logic [15:0] image_base_q, base_q, first_base;
  logic [17:0] row_q, column_q, first_row_q, first_column_q, next_row;
  logic [15:0] offset, offset_q;

  // floor(row_i / 4) * group_step_i for the few values that occur
  always_comb begin
    unique case (row_i[3:2])
      2'b00: offset = '0;
      2'b01: offset = group_step_i;
      2'b10: offset = -(group_step_i << 1);
      default: offset = -group_step_i;
    endcase
  end

  assign active_o    = active_q;
  assign base_o      = base_q;
  assign row_o       = row_q;
  assign column_o    = column_q;
  assign row_end_o   = row_end_q;
  assign last_row_o  = last_row_q;
  assign image_end_o = row_end_q && last_row_q;
  assign last_o      = last_q;
  assign next_row    = row_q + {15'd0, row_step_i};
  assign first_base  = image_base_q + image_step_i;

  // last_q, a register since much hangs on it: the request is the last of its row, its image and the walk.
  assign row_end_d    = !row_end_q ? columns_left_q == 16'd1 : columns_q == '0;
  assign last_row_d   = !row_end_q ? last_row_q : !last_row_q ? rows_left_q == 16'd1 : rows_q == '0;
  assign last_image_d = image_end_o ? images_left_q == 16'd1 : last_image_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      last_q   <= 1'b0;
    end else if (start_i) begin
      active_q <= go_i;
      last_q   <= go_i && images_i == '0 && rows_i == '0 && columns_i == '0;
    end else if (last_q) begin
      active_q <= 1'b0;
      last_q   <= 1'b0;
    end else if (active_q) begin
      last_q   <= row_end_d && last_row_d && last_image_d;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      images_left_q  <= images_i;
      rows_left_q    <= rows_i;
      columns_left_q <= columns_i;
      rows_q         <= rows_i;
      columns_q      <= columns_i;
      last_image_q   <= images_i == '0;
      last_row_q     <= rows_i == '0;
      row_end_q      <= columns_i == '0;
      first_row_q    <= row_i;
      first_column_q <= column_i;
      row_q          <= row_i;
      column_q       <= column_i;
      image_base_q   <= base_i;
      base_q         <= base_i + offset;
      offset_q       <= offset;
    end else if (active_q) begin
      row_end_q    <= row_end_d;
      last_row_q   <= last_row_d;
      last_image_q <= last_image_d;
      if (!row_end_q) begin
        columns_left_q <= columns_left_q - 16'd1;
        column_q       <= column_q + {16'd0, column_step_i};
      end else begin
        columns_left_q <= columns_q;
        column_q       <= first_column_q;
        if (!last_row_q) begin
          rows_left_q <= rows_left_q - 16'd1;
          row_q       <= next_row;
          if (next_row[2] != row_q[2]) base_q <= base_q + group_step_i;
        end else begin
          rows_left_q   <= rows_q;
          row_q         <= first_row_q;
          images_left_q <= images_left_q - 16'd1;
          image_base_q  <= first_base;
          base_q        <= first_base + offset_q;
        end
      end
    end
  end
endmodule

`default_nettype wire
