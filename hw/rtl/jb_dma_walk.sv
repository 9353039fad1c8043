// Turns a strided request into AXI3 bursts: at most 16 beats, never across 4 KB, one burst a cycle.
//
// A request is a nest of loops, outer to inner: blocks, images, rows, chunks. A chunk is contiguous: `beats` beats of 8
// bytes (`last_beats` in the last block). What has fewer dimensions sets the other counts to 1. Addresses are multiples of
// 4 bytes: a chunk that starts in the upper half of a beat is one beat, of which the upper half counts; with `half` the
// last beat of a chunk counts only with its lower half.
`default_nettype none

module jb_dma_walk (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // the request: counts and beats are at least 1
  input  wire logic        valid_i,
  output      logic        ready_o,
  input  wire logic [31:0] address_i,
  input  wire logic [15:0] blocks_i,
  input  wire logic [15:0] images_i,
  input  wire logic [15:0] rows_i,
  input  wire logic [15:0] chunks_i,
  input  wire logic [31:0] block_stride_i,
  input  wire logic [31:0] image_stride_i,
  input  wire logic [31:0] row_stride_i,
  input  wire logic [31:0] chunk_stride_i,
  input  wire logic [28:0] beats_i,
  input  wire logic [28:0] last_beats_i,
  input  wire logic        half_i,
  input  wire logic        last_half_i,
  // the bursts
  output      logic        valid_o,
  input  wire logic        ready_i,
  output      logic [31:0] address_o,  // of the first beat, a multiple of 8
  output      logic [ 4:0] beats_o,    // 1..16
  output      logic        upper_o,    // of its one beat the upper half counts
  output      logic        lower_o,    // of its last beat the lower half counts
  output      logic        last_o,     // the request's last burst
  output      logic        busy_o      // bursts are still to come (behind the one at the output)
);
  logic busy_q;
  logic [31:0] block_base_q, image_base_q, row_base_q, chunk_base_q, address_q;
  // What is left, inverted and counted up: a counter that goes up needs no LUTs of its own
  logic [15:0] block_q, image_q, row_q, chunk_q;
  logic [28:0] left_q;
  logic [15:0] images_q, rows_q, chunks_q;
  logic last_block, last_image, last_row, last_chunk;
  logic [31:0] block_stride_q, image_stride_q, row_stride_q, chunk_stride_q;
  logic [28:0] beats_q, last_beats_q;
  logic half_q, last_half_q;

  logic [4:0] burst, room;
  logic short, chunk_end, step, request_end;
  logic [31:0] next_base;
  logic next_block, next_is_last_block;

  // Beats from here to the 4 KB boundary, if they are fewer than a burst: 1..16; and of the chunk, likewise.
  // Bit by bit, so that no carry chain is made of it.
  assign room[3:0] = address_q[11:7] == '1 ? address_q[6:3] ^ {|address_q[5:3], |address_q[4:3], address_q[3], 1'b0} : 4'd0;
  assign room[4]   = room[3:0] == 4'd0;
  assign short = left_q[28:5] == '1 && ~left_q[4:0] <= room;
  assign burst = short ? ~left_q[4:0] : room;

  assign last_block  = block_q == ~16'd1;
  assign last_image  = image_q == ~16'd1;
  assign last_row    = row_q == ~16'd1;
  assign last_chunk  = chunk_q == ~16'd1;
  assign chunk_end   = short;
  assign request_end = chunk_end && last_chunk && last_row && last_image && last_block;
  assign step        = busy_q && (!valid_o || ready_i);
  assign next_block  = last_chunk && last_row && last_image;

  // The innermost loop that goes on
  logic [1:0] level;
  logic [31:0] base, stride;

  assign level = !last_chunk ? 2'd0 : !last_row ? 2'd1 : !last_image ? 2'd2 : 2'd3;

  always_comb begin
    unique case (level)
      2'd0:    {base, stride} = {chunk_base_q, chunk_stride_q};
      2'd1:    {base, stride} = {row_base_q, row_stride_q};
      2'd2:    {base, stride} = {image_base_q, image_stride_q};
      default: {base, stride} = {block_base_q, block_stride_q};
    endcase
  end
  assign next_base          = base + stride;
  assign next_is_last_block = next_block ? block_q == ~16'd2 : last_block;

  assign ready_o = !busy_q;
  assign busy_o  = busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      valid_o <= 1'b0;
    end else begin
      if (valid_i && ready_o) busy_q <= 1'b1;
      else if (step && request_end) busy_q <= 1'b0;
      if (step) valid_o <= 1'b1;
      else if (ready_i) valid_o <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (valid_i && ready_o) begin
      block_base_q   <= address_i;
      image_base_q   <= address_i;
      row_base_q     <= address_i;
      chunk_base_q   <= address_i;
      address_q      <= address_i;
      block_q        <= ~blocks_i;
      image_q        <= ~images_i;
      row_q          <= ~rows_i;
      chunk_q        <= ~chunks_i;
      images_q       <= images_i;
      rows_q         <= rows_i;
      chunks_q       <= chunks_i;
      block_stride_q <= block_stride_i;
      image_stride_q <= image_stride_i;
      row_stride_q   <= row_stride_i;
      chunk_stride_q <= chunk_stride_i;
      beats_q        <= beats_i;
      last_beats_q   <= last_beats_i;
      half_q         <= half_i;
      last_half_q    <= last_half_i;
      left_q         <= blocks_i == 16'd1 ? ~last_beats_i : ~beats_i;
    end else if (step) begin
      if (chunk_end) begin
        address_q    <= next_base;
        chunk_base_q <= next_base;
        left_q       <= next_is_last_block ? ~last_beats_q : ~beats_q;
        if (!last_chunk) begin
          chunk_q <= chunk_q + 16'd1;
        end else begin
          chunk_q    <= ~chunks_q;
          row_base_q <= next_base;
          if (!last_row) begin
            row_q <= row_q + 16'd1;
          end else begin
            row_q        <= ~rows_q;
            image_base_q <= next_base;
            if (!last_image) begin
              image_q <= image_q + 16'd1;
            end else begin
              image_q      <= ~images_q;
              block_base_q <= next_base;
              block_q      <= block_q + 16'd1;
            end
          end
        end
      end else begin
        address_q <= {address_q[31:3], 3'b000} + {24'd0, room, 3'b000};
        left_q    <= left_q + {24'd0, room};
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (step) begin
      address_o <= {address_q[31:3], 3'b000};
      beats_o   <= burst;
      upper_o   <= address_q[2];
      lower_o   <= chunk_end && !address_q[2] && (last_block ? last_half_q : half_q);
      last_o    <= request_end;
    end
  end

  logic unused;
  assign unused = ^address_q[1:0];

`ifdef JB_PROPERTIES
  `include "jb_dma_walk_properties.svh"
`endif
endmodule

`default_nettype wire
