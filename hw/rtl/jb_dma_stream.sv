// A read client that delivers a request's beats as a valid/ready stream, in order. It asks only for what its FIFO has room for,
// so that the bus is never held up. The next request is taken as soon as the last burst of the one before has been asked for.
`default_nettype none

module jb_dma_stream #(
  parameter int Depth = 512,  // beats of the FIFO, a power of two, at least 32
  parameter bit Block = 1'b1, // FIFO in block RAM, else in distributed memory
  parameter bit Halves = 1'b0 // all requests are of half beats: they arrive in the low half
) (
  input  wire logic        clk_i,
  input  wire logic        rst_ni,
  // the request, see jb_dma_walk
  input  wire logic        request_valid_i,
  output      logic        request_ready_o,
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
  // bursts to the port
  output      logic        burst_valid_o,
  input  wire logic        burst_ready_i,
  output      logic [31:0] burst_address_o,
  output      logic [ 4:0] burst_beats_o,
  // beats from the port
  input  wire logic        data_valid_i,
  input  wire logic [63:0] data_i,
  // the stream
  output      logic        valid_o,
  input  wire logic        ready_i,
  output      logic [63:0] data_o,
  output      logic        idle_o  // no request, no beat on its way or inside
);
  localparam int CountBits = $clog2(Depth) + 1;

  logic walk_valid, walk_ready, walk_busy, walk_upper, walk_lower_unused, walk_last_unused;
  logic [CountBits-1:0] room_q;  // words that are neither inside nor on their way
  logic enough, issue, pop;
  logic [63:0] fifo_data, word;
  logic fifo_valid, fifo_ready_unused;

  jb_dma_walk u_walk (
    .clk_i,
    .rst_ni,
    .valid_i    (request_valid_i),
    .ready_o    (request_ready_o),
    .address_i,
    .blocks_i,
    .images_i,
    .rows_i,
    .chunks_i,
    .block_stride_i,
    .image_stride_i,
    .row_stride_i,
    .chunk_stride_i,
    .beats_i,
    .last_beats_i,
    .half_i     (1'b0),
    .last_half_i(1'b0),
    .valid_o    (walk_valid),
    .ready_i    (walk_ready),
    .address_o  (burst_address_o),
    .beats_o    (burst_beats_o),
    .upper_o    (walk_upper),
    .lower_o    (walk_lower_unused),
    .last_o     (walk_last_unused),
    .busy_o     (walk_busy)
  );

  assign pop    = valid_o && ready_i;
  assign issue  = burst_valid_o && burst_ready_i;
  assign enough = room_q[CountBits-1:4] != '0;  // for any burst

  always_ff @(posedge clk_i) begin
    if (!rst_ni) room_q <= CountBits'(Depth);
    else room_q <= room_q + (pop ? CountBits'(1) : '0) - (issue ? CountBits'(burst_beats_o) : '0);
  end

  if (Halves) begin : g_halves
    // One bit per burst under way: whether its (one) beat's upper half is wanted; and whether it ends with this beat.
    logic half_ready, half_valid, upper;
    logic [4:0] half_beats;
    logic [4:0] position_q;
    logic [5:0] half_count_unused;

    jb_fifo #(
      .Width(6),
      .Depth(32)
    ) u_halves (
      .clk_i,
      .rst_ni,
      .valid_i(issue),
      .ready_o(half_ready),
      .data_i ({walk_upper, burst_beats_o}),
      .valid_o(half_valid),
      .ready_i(data_valid_i && position_q + 5'd1 == half_beats),
      .data_o ({upper, half_beats}),
      .count_o(half_count_unused)
    );

    always_ff @(posedge clk_i) begin
      if (!rst_ni) position_q <= '0;
      else if (data_valid_i) position_q <= position_q + 5'd1 == half_beats ? '0 : position_q + 5'd1;
    end

    assign burst_valid_o = walk_valid && enough && half_ready;
    assign walk_ready    = burst_ready_i && enough && half_ready;
    assign word          = {32'd0, upper ? data_i[63:32] : data_i[31:0]};

    logic unused_halves;
    assign unused_halves = ^{half_count_unused, half_valid};
  end else begin : g_whole
    assign burst_valid_o = walk_valid && enough;
    assign walk_ready    = burst_ready_i && enough;
    assign word          = data_i;

    logic unused_whole;
    assign unused_whole = walk_upper;
  end

  if (Block) begin : g_block
    jb_fifo_bram #(
      .Width(64),
      .Depth(Depth)
    ) u_fifo (
      .clk_i,
      .rst_ni,
      .valid_i(data_valid_i),
      .ready_o(fifo_ready_unused),
      .data_i (word),
      .valid_o(fifo_valid),
      .ready_i,
      .data_o (fifo_data)
    );
  end else begin : g_distributed
    logic [CountBits-1:0] count_unused;
    jb_fifo #(
      .Width(64),
      .Depth(Depth)
    ) u_fifo (
      .clk_i,
      .rst_ni,
      .valid_i(data_valid_i),
      .ready_o(fifo_ready_unused),
      .data_i (word),
      .valid_o(fifo_valid),
      .ready_i,
      .data_o (fifo_data),
      .count_o(count_unused)
    );
    logic unused_count;
    assign unused_count = ^count_unused;
  end

  assign valid_o = fifo_valid;
  assign data_o  = fifo_data;
  assign idle_o  = !walk_busy && !walk_valid && room_q == CountBits'(Depth);

  logic unused;
  assign unused = ^{walk_lower_unused, walk_last_unused, fifo_ready_unused};
endmodule

`default_nettype wire
