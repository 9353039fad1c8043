// Fetches the descriptors of a list one after another and sums their words.
`default_nettype none

module jb_descriptor_fetch (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  input  wire logic          start_i,        // a pulse; ignored while busy
  input  wire logic [31:0]   address_i,      // of the first descriptor, a multiple of 8
  input  wire logic [15:0]   count_i,        // at least 1
  input  wire logic          stop_i,         // fetch no more
  output      logic          busy_o,         // descriptors are still to come
  // bursts to the read port, beats from it
  output      logic          burst_valid_o,
  input  wire logic          burst_ready_i,
  output      logic [31:0]   burst_address_o,
  output      logic [ 4:0]   burst_beats_o,
  input  wire logic          data_valid_i,
  input  wire logic [63:0]   data_i,
  input  wire logic          data_error_i,
  // a descriptor
  output      logic          valid_o,
  input  wire logic          ready_i,
  output      logic [1023:0] descriptor_o,
  output      logic          sum_good_o,     // its words add up as the field `check` says
  output      logic          bus_error_o,    // a beat came with an error
  output      logic [15:0]   index_o,
  output      logic          last_o          // the list's last
);
  typedef enum logic [1:0] {
    StIdle,
    StAsk,
    StReceive,
    StOffer
  } state_e;

  state_e state_q;
  logic [31:0] address_q, sum_q;
  logic [15:0] left_q;
  logic [3:0] beat_q;
  logic walk_ready_unused, walk_upper_unused, walk_lower_unused, walk_last_unused, walk_busy_unused;

  jb_dma_walk u_walk (
    .clk_i,
    .rst_ni,
    .valid_i       (state_q == StAsk),
    .ready_o       (walk_ready_unused),
    .address_i     (address_q),
    .blocks_i      (16'd1),
    .images_i      (16'd1),
    .rows_i        (16'd1),
    .chunks_i      (16'd1),
    .block_stride_i('0),
    .image_stride_i('0),
    .row_stride_i  ('0),
    .chunk_stride_i('0),
    .beats_i       (29'(jb_pkg::DESCRIPTOR_BYTES / jb_pkg::WORD_BYTES)),
    .last_beats_i  (29'(jb_pkg::DESCRIPTOR_BYTES / jb_pkg::WORD_BYTES)),
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

  assign busy_o     = state_q != StIdle;
  assign valid_o    = state_q == StOffer;
  assign last_o     = left_q == 16'd1;
  // The field is the inverted sum of the other words: all of them add up to all ones.
  assign sum_good_o = sum_q == '1;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:    if (start_i) state_q <= StAsk;
        StAsk:     state_q <= StReceive;
        StReceive: if (data_valid_i && beat_q == 4'd15) state_q <= StOffer;
        default: begin
          if (stop_i) state_q <= StIdle;
          else if (ready_i) state_q <= last_o ? StIdle : StAsk;
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) begin
      address_q <= address_i;
      left_q    <= count_i;
      index_o   <= '0;
    end else if (state_q == StOffer && ready_i) begin
      address_q <= address_q + 32'(jb_pkg::DESCRIPTOR_BYTES);
      left_q    <= left_q - 16'd1;
      index_o   <= index_o + 16'd1;
    end
    if (state_q == StAsk) begin
      beat_q      <= '0;
      sum_q       <= '0;
      bus_error_o <= 1'b0;
    end else if (data_valid_i) begin
      beat_q       <= beat_q + 4'd1;
      sum_q        <= sum_q + data_i[31:0] + data_i[63:32];
      descriptor_o <= {data_i, descriptor_o[1023:64]};
      if (data_error_i) bus_error_o <= 1'b1;
    end
  end

  logic unused;
  assign unused = ^{walk_ready_unused, walk_upper_unused, walk_lower_unused, walk_last_unused, walk_busy_unused};
endmodule

`default_nettype wire
